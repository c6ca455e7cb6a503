//! Microsoft Entra's access tokens, version 1 and 2.
//!
//! Two facts that surprise operators: groups are emitted for users only, so that most agents come without any; and over
//! 200 groups Entra leaves the claim out and points to an address instead, which is never called. Both mean *unknown*.

use super::{Form, Rules, Times, display_name, is_guid, plain_text, roles};
use crate::identity::caller;
use crate::identity::json::{Json, Object};
use crate::identity::problem::TokenProblem;
use crate::identity::token::claim_problem;
use chaperone_core::identity::{Groups, IdentityFacts};
use chaperone_core::name::Principal;

/// What an Entra token proves.
pub(super) fn facts(rules: &Rules, claims: &Object, times: Times) -> Result<IdentityFacts, TokenProblem> {
    let tenant = plain_text(claims, "tid")?;
    if tenant != rules.tenant {
        return Err(TokenProblem::TenantMismatch);
    }
    let (version, client_claim) = match rules.form {
        Form::EntraV1 => ("1.0", "appid"),
        _ => ("2.0", "azp"),
    };
    if plain_text(claims, "ver")? != version {
        return Err(TokenProblem::VersionMismatch);
    }
    let client = guid(claims, client_claim)?;
    let object_id = guid(claims, "oid")?;
    plain_text(claims, "sub")?;
    let kind = caller::kind(claims, client, rules.provider.human_clients.as_ref())?;
    // The parts were checked above, and none has a slash; should a name not fit all the same, it fails closed.
    let principal = Principal::of(&rules.provider.name, &rules.tenant, object_id)
        .map_err(|_| TokenProblem::ClaimMalformed("oid"))?;
    let name_claim =
        if claims.get("idtyp") == Some(&Json::Text("app".into())) { "app_displayname" } else { "name" };
    Ok(IdentityFacts {
        provider: rules.provider.name.clone(),
        tenant: rules.tenant.clone(),
        object_id: object_id.to_owned(),
        principal,
        kind,
        audience: Default::default(),
        groups: groups(claims)?,
        roles: roles(claims)?,
        actor: client.to_owned(),
        blueprint: blueprint(claims)?,
        display_name: display_name(claims, name_claim),
        sponsors: Vec::new(),
        credential_id: plain_text(claims, "uti")?.to_owned(),
        issued_at: times.issued_at,
        expires_at: times.expires_at,
    })
}

fn guid<'a>(claims: &'a Object, claim: &'static str) -> Result<&'a str, TokenProblem> {
    let text = claims.text(claim).map_err(|error| claim_problem(claim, error))?;
    if is_guid(text) { Ok(text) } else { Err(TokenProblem::ClaimMalformed(claim)) }
}

/// The agent's blueprint, for the record only.
fn blueprint(claims: &Object) -> Result<Option<String>, TokenProblem> {
    if !claims.has("xms_par_app_azp") {
        return Ok(None);
    }
    plain_text(claims, "xms_par_app_azp").map(|text| Some(text.to_owned()))
}

/// Groups by id. Missing groups, or any sign that some are missing, mean unknown.
fn groups(claims: &Object) -> Result<Groups, TokenProblem> {
    let listed = claims.optional_texts("groups").map_err(|error| claim_problem("groups", error))?;
    let elsewhere = match claims.get("_claim_names") {
        None => false,
        Some(Json::Object(names)) => names.has("groups"),
        Some(_) => return Err(TokenProblem::ClaimMistyped("_claim_names")),
    };
    let Some(listed) = listed.filter(|_| !elsewhere && !claims.has("hasgroups")) else {
        return Ok(Groups::Unknown);
    };
    // A name where an id belongs: whoever may name a group could choose the name of another's id.
    if listed.iter().any(|id| !is_guid(id)) {
        return Err(TokenProblem::GroupsByName);
    }
    Ok(Groups::Known(listed.into_iter().map(str::to_owned).collect()))
}
