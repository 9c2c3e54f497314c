//! How this kernel adds `pvir-guest`: the platform that it is, and a session with the host.

mod platform;
mod session;

pub(crate) use platform::Kernel;
pub(crate) use session::{
    NoSession, Session, discover, enable_again, open, open_by_device, open_by_device_with, take_over,
};
