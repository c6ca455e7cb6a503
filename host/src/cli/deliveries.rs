//! `chaperone deliveries`: what channels were told.

use super::client::Client;
use super::failure::{Exit, Failure};
use super::print::{Audience, Column};
use super::remote::list;

/// Lists the newest messages.
pub(crate) async fn deliveries(client: &Client, audience: Audience) -> Result<Exit, Failure> {
    const COLUMNS: [Column; 8] = [
        Column { title: "DELIVERY", pointer: "/id" },
        Column { title: "CHANNEL", pointer: "/channel" },
        Column { title: "EVENT", pointer: "/event" },
        Column { title: "APPROVAL", pointer: "/approval" },
        Column { title: "MADE", pointer: "/made" },
        Column { title: "STATE", pointer: "/state" },
        Column { title: "ATTEMPTS", pointer: "/attempts" },
        Column { title: "ERROR", pointer: "/error" },
    ];
    let answer = client.get("/api/v1/deliveries").await?;
    list(&answer, "deliveries", &COLUMNS, "No channel was told anything.", audience)
}
