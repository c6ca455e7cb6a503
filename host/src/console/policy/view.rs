//! How the policy, what it is enforced by, and an explanation are shown.

use super::super::pages::{Page, Renewed, Room};
use super::super::roles::{May, Watch};
use super::super::text::visible;
use super::super::words::{self, cell, columns};
use super::{Plant, Question};
use crate::grant::{Explanation, Outcome, Rule, Rules};
use chaperone_core::identity::CallerKind;
use chaperone_hooks::{Hook, Plugin};
use maud::{Markup, html};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn policy(
    may: &May<Watch>,
    plant: &Plant,
    rules: &Rules,
    question: &Question,
    answer: Option<&Result<Explanation, String>>,
) -> Page {
    let body = html! {
        div.head { h1 { "Policy" } p.quiet { "as it counts on this gateway now" } }
        (explain(plant, question, answer))
        h2 { "Grants" }
        (table_of_rules("Grants", &rules.grants, "No grant counts: nobody gets in."))
        h2 { "Rules that deny" }
        (table_of_rules("Rules that deny", &rules.denies, "No rule denies what a grant allows."))
        h2 { "Who steers" }
        dl.card {
            dt { "Operators" } dd { (subjects(&rules.operators)) }
            dt { "Auditors" } dd { (subjects(&rules.auditors)) }
        }
        h2 { "Targets" }
        (targets(plant))
        h2 { "Plugins" }
        (plugins(&plant.plugins))
    };
    Page::of(may, Room::Policy, Renewed::Not, "Policy", body)
}

fn subjects(all: &[String]) -> Markup {
    html! {
        @if all.is_empty() { span.quiet { "nobody" } }
        @for one in all { span.badge { (visible(one)) } " " }
    }
}

fn table_of_rules(what: &'static str, rules: &[Rule], none: &str) -> Markup {
    html! {
        @if rules.is_empty() {
            (words::empty(none, html! { "Rules are in the gateway's configuration file, and " code { "chaperone reload" } " reads it again." }))
        } @else {
            table.stack role="table" {
                caption.unseen { (what) }
                (columns(&["Target", "For", "Terms", "Line"]))
                tbody role="rowgroup" {
                    @for rule in rules {
                        tr role="row" {
                            (cell("Target", html! { (rule.target) }))
                            (cell("For", subjects(&rule.to)))
                            (cell("Terms", html! { (visible(&rule.terms)) }))
                            (cell("Line", html! { (rule.line) }))
                        }
                    }
                }
            }
        }
    }
}

fn targets(plant: &Plant) -> Markup {
    html! {
        table.stack role="table" {
            caption.unseen { "Targets" }
            (columns(&["Name", "Address", "Database", "Credential", "TLS", "Plugins", "Labels"]))
            tbody role="rowgroup" {
                @for target in &plant.targets {
                    tr role="row" {
                        (cell("Name", html! { (target.name) " " span.badge { (target.protocol) } }))
                        (cell("Address", html! { span.id { (visible(&target.address)) } }))
                        (cell("Database", html! { (visible(&target.database)) }))
                        (cell("Credential", html! { (target.credential) }))
                        (cell("TLS", html! { (target.tls) }))
                        (cell("Plugins", html! { (target.plugins.join(", ")) }))
                        (cell("Labels", html! { @for label in &target.labels { span.badge { (label) } " " } }))
                    }
                }
            }
        }
    }
}

fn plugins(plugins: &[Arc<Plugin>]) -> Markup {
    html! {
        div.list {
            @for plugin in plugins {
                @let stamp = plugin.stamp();
                div.card {
                    h3 { (stamp.name) " " span.badge { (visible(&stamp.version)) } }
                    dl {
                        dt { "Component" } dd.id { (stamp.digest) }
                        dt { "Configuration" } dd.id { (stamp.config_hash) }
                        dt { "Instances" } dd { (plugin.instances()) " in sessions now" }
                    }
                    table.stack role="table" {
                        caption { "Hooks of " (stamp.name) " since the gateway started" }
                        (columns(&["Hook", "Calls", "Mean", "p50", "p99", "Faults"]))
                        tbody role="rowgroup" {
                            @for hook in Hook::ALL.into_iter().filter(|hook| plugin.has(*hook)) {
                                @let read = plugin.metrics(hook).read();
                                tr role="row" {
                                    (cell("Hook", html! { code { (hook.as_str()) } }))
                                    (cell("Calls", html! { (read.calls) }))
                                    (cell("Mean", html! { (time(u32::try_from(read.calls).ok().and_then(|calls| read.time.checked_div(calls)))) }))
                                    (cell("p50", html! { (time(read.times.percentile(50))) }))
                                    (cell("p99", html! { (time(read.times.percentile(99))) }))
                                    (cell("Faults", html! {
                                        @if read.faults > 0 { span.badge.refused { (read.faults) } } @else { "0" }
                                    }))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A short time in the unit that fits.
pub(in super::super) fn time(time: Option<Duration>) -> String {
    let Some(time) = time else { return "–".to_owned() };
    match time.as_nanos() {
        0..10_000 => format!("{:.1} µs", time.as_secs_f64() * 1e6),
        10_000..1_000_000 => format!("{:.0} µs", time.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

fn explain(plant: &Plant, question: &Question, answer: Option<&Result<Explanation, String>>) -> Markup {
    html! {
        section.card aria-labelledby="explain" {
            h2 #explain { "Why is somebody let in, or not?" }
            form method="get" action="/console/policy" {
                div.fields {
                    div {
                        label for="target" { "Target" }
                        select #target name="target" required {
                            @for target in &plant.targets {
                                option value=(target.name) selected[target.name.as_str() == question.target] { (target.name) }
                            }
                        }
                    }
                    (field("who", "Who", &question.who, "provider/tenant/object-id"))
                    div {
                        label for="kind" { "Kind" }
                        select #kind name="kind" {
                            @for kind in CallerKind::ALL {
                                @let chosen = if question.kind.is_empty() { "agent" } else { &question.kind };
                                option value=(kind) selected[kind.as_str() == chosen] { (kind) }
                            }
                        }
                    }
                    (field("groups", "Groups", &question.groups, "aliases; none: not known"))
                    (field("roles", "App roles", &question.roles, "none"))
                    (field("from", "From address", &question.from, "not known"))
                    (field("at", "At", &question.at, "now, or 2026-07-30T09:00:00Z"))
                }
                div.buttons { button.strong type="submit" { "Explain" } }
            }
            @match answer {
                None => {},
                Some(Err(why)) => { p.standing.refused role="alert" { (visible(why)) } },
                Some(Ok(explanation)) => (explained(explanation)),
            }
        }
    }
}

fn field(name: &'static str, label: &'static str, value: &str, hint: &'static str) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            input #(name) type="text" name=(name) value=(value) placeholder=(hint) autocomplete="off" spellcheck="false";
        }
    }
}

fn explained(explanation: &Explanation) -> Markup {
    let (class, word) = match explanation.outcome {
        Outcome::Requested => ("ok", "A window opens when it is asked for."),
        Outcome::Approved => ("waits", "People are asked."),
        Outcome::Denied => ("refused", "Denied."),
        Outcome::NotNow => ("waits", "Not now, or not from there."),
        Outcome::NotGranted => ("refused", "Not granted."),
    };
    html! {
        div #answer role="status" {
            p.standing.(class) { (word) }
            p { "Because " (visible(&explanation.summary)) }
            table.stack role="table" {
                caption { "Every rule on " (explanation.target) ", as it answers for " span.id { (explanation.principal) } }
                (columns(&["Rule", "For", "Terms", "Holds", "Why", "Line"]))
                tbody role="rowgroup" {
                    @for rule in &explanation.rules {
                        tr role="row" {
                            (cell("Rule", html! { (rule.rule) }))
                            (cell("For", subjects(&rule.to)))
                            (cell("Terms", html! { (visible(&rule.terms)) }))
                            (cell("Holds", html! {
                                @if rule.holds { span.badge.ok { "yes" } } @else { span.badge { "no" } }
                            }))
                            (cell("Why", html! { (visible(&rule.why)) }))
                            (cell("Line", html! { (rule.line) }))
                        }
                    }
                }
            }
        }
    }
}
