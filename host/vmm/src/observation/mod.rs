//! Looking at a run: its report, the control socket at which a running VM answers, and `pvir routes`, which asks there.

pub(crate) mod control;
pub(crate) mod event;
pub(crate) mod report;
pub(crate) mod routes;
