//! What reads bytes that others have written, as functions of bytes: for `host/fuzz`, and nothing that the program uses.
//! Feature `fuzz`.
//!
//! Each takes any input, and answers with what is wrong; that the input is refused is not.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Result, bail};
use pvir_host::service::Service;
use serde_json::json;

pub use crate::boot::fuzz::elf;
use crate::observation::control::fuzz::talk;
use crate::observation::event;
pub use crate::pci::fuzz::bus;
use crate::plugging::fuzz::spelled;
use crate::snapshot::Request;
pub use crate::snapshot::fuzz::{raw_file, written_file};

/// A client of the control socket sends these pieces, each with so many files. `pvir` reads the request; events reach the
/// service, and what else changes the machine is read and not done.
///
/// # Errors
/// An answer that is no line of JSON, or a file that stays open.
pub fn control(pieces: &[(Vec<u8>, u8)], service: &Arc<Service>) -> Result<()> {
    let service = Arc::clone(service);
    let machine = move |request: &str, files: Vec<OwnedFd>| {
        if let Some(wanted) = Request::parse(request) {
            return Ok(json!({ "wanted": format!("{wanted:?}"), "files": files.len() }).to_string());
        }
        if let Some(wish) = spelled(request, files) {
            return Ok(json!({ "wish": wish? }).to_string());
        }
        match (request.strip_prefix("event "), request) {
            (Some(event), _) => Ok(serde_json::to_string(&event::answer(&service, event)?)?),
            (None, "devices" | "routes" | "summary") => Ok(json!({ "shown": request }).to_string()),
            _ => bail!("no such request: {request:?}"),
        }
    };
    talk(pieces, &machine)
}
