//! The IO shell of Weir: worker threads that each own one shard of the core and one socket on the media port.
//!
//! [`Sfu`] is the handle that signaling holds: cheap to clone, safe to use from any task.

mod handle;
mod load;
mod place;
mod probe;
mod relay;
mod relays;
mod routes;
mod settings;
mod socket;
mod stream;
mod worker;

pub use handle::{NOTICE_QUEUE, Session, Sfu, SfuError};
pub use probe::{SocketProbe, probe, try_bind};
pub use relay::{CREDENTIAL_TTL, Relay};
pub use settings::{SfuConfig, StartError, TcpPort, TurnSettings};
pub use stream::StreamKind;
pub use weir_core::turn::{Credential, Secret as TurnSecret};
pub use weir_core::{allocator, api, doctor, path, stats, watching};
