//! `weir-loadtest`: how a call feels under load, measured from outside, for Weir and for any WHIP and WHEP server.
//!
//! ```text
//! cli -> scenario -> run: asks `signal` (weir.v1, WHIP, WHEP) for each participant's session, and gives its client to
//!                         one of the engine's threads
//! engine: worker threads; each owns many clients (a str0m Rtc, a socket, an emulated link)
//!         media::Source says what a publisher sends, media::Checker judges what a receiver gets
//! results: everything that was measured, as plain data; report reads this and nothing else
//! ```
//!
//! The tester shares no code with the server and talks to it over the network only.

pub mod cli;
pub mod clock;
pub mod engine;
pub mod link;
pub mod media;
pub mod report;
pub mod results;
pub mod run;
pub mod scenario;
pub mod session;
