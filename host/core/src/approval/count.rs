//! Counting approvers: one person fills one place.
//!
//! Somebody who is in two approver groups may stand for either, not for both. Whether the approvals given so far can be
//! spread over the requirements is a bipartite matching; the sizes are tiny (at most 64 voters, 128 places), so the
//! plain augmenting-path algorithm does.

use crate::grant::Requirement;
use crate::name::GroupAlias;

/// The most places that these voters can fill; each voter is the list of requirements they belong to.
pub(super) fn places_filled(requirements: &[Requirement], voters: &[&[GroupAlias]]) -> usize {
    let places: Vec<&GroupAlias> = requirements
        .iter()
        .flat_map(|one| std::iter::repeat_n(&one.approvers, usize::from(one.needed)))
        .collect();
    let mut taken: Vec<Option<usize>> = vec![None; places.len()];
    (0..voters.len())
        .filter(|&voter| {
            let mut tried = vec![false; places.len()];
            seat(voter, voters, &places, &mut taken, &mut tried)
        })
        .count()
}

/// Seats a voter, moving others to another of their places where that helps. The depth is bounded by the places.
fn seat(
    voter: usize,
    voters: &[&[GroupAlias]],
    places: &[&GroupAlias],
    taken: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for (place, alias) in places.iter().enumerate() {
        let fits = voters.get(voter).is_some_and(|through| through.contains(alias));
        let Some(seen) = tried.get_mut(place) else { continue };
        if !fits || std::mem::replace(seen, true) {
            continue;
        }
        let free = match taken.get(place).copied().flatten() {
            None => true,
            Some(sitting) => seat(sitting, voters, places, taken, tried),
        };
        if free {
            if let Some(seat) = taken.get_mut(place) {
                *seat = Some(voter);
            }
            return true;
        }
    }
    false
}
