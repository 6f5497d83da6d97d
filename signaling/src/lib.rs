//! Weir's outside: HTTP, the browser protocol `weir.v1`, WHIP, WHEP, tokens, configuration.
//!
//! [`serve`] starts everything in one process; the binary `weir` is a thin shell around it.

mod addresses;
mod app;
pub mod auth;
pub mod cli;
pub mod config;
mod doctor;
mod error;
mod http;
mod ice;
mod limits;
mod metrics;
mod origins;
mod server;
mod telemetry;
mod tls;
mod ws;

pub use config::Config;
pub use server::{ServeError, Server, serve};

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
