//! The requests `plug` and `unplug`, read and not done.

use std::os::fd::OwnedFd;

use anyhow::Result;

use super::request;

/// What is asked for, as text; `None` of any other request.
pub(crate) fn spelled(text: &str, files: Vec<OwnedFd>) -> Option<Result<String>> {
    Some(request::wish(text, files)?.map(|wish| format!("{wish:?}")))
}
