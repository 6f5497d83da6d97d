//! `weir doctor`: what works and what does not between clients and this server, what that means, and what to do.

mod clock;
mod local;
mod remote;
mod report;

pub(crate) use self::clock::Clock;
pub(crate) use self::report::{Report, Verdict};

use std::path::PathBuf;

use crate::config::Sources;

/// What `weir doctor` was asked.
#[derive(Default)]
pub(crate) struct Request {
    /// Where the configuration is from.
    pub(crate) sources: Sources,
    /// The NTP servers that the clock is held against.
    pub(crate) ntp: Vec<String>,
    /// What a server that asks for a token is given.
    pub(crate) token: Option<String>,
    /// What the time is.
    pub(crate) clock: Clock,
}

/// Looks at this machine, with the configuration that a server here would run with.
pub(crate) async fn of_machine(request: &Request) -> Report {
    local::examine(request).await
}

/// Looks at the server at a URL, as its clients do from here.
pub(crate) async fn of_server(request: &Request, url: &str) -> Report {
    remote::examine(request, url).await
}

/// A file and why it cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    why: String,
}

impl FileError {
    fn new(path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}
