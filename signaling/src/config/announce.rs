//! `media.announce`: which addresses clients are told.

use std::net::{IpAddr, SocketAddr};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The word that has the server find its addresses itself.
const AUTO: &str = "auto";

/// Which addresses clients are told. Written as `"auto"`, as one address, or as a list of addresses; an address without
/// a port has the port that media is received on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announce {
    /// What cloud metadata, STUN servers or this machine's interfaces say, in this order.
    Auto,
    /// These; none: the address that media is received on. Port 0 stands for the port listened on.
    Addresses(Vec<SocketAddr>),
}

impl Default for Announce {
    fn default() -> Self {
        Self::Addresses(Vec::new())
    }
}

impl Announce {
    /// True if nothing was said.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Addresses(addresses) if addresses.is_empty())
    }

    /// The addresses as written; none for `auto`.
    pub fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Auto => &[],
            Self::Addresses(addresses) => addresses,
        }
    }
}

impl Serialize for Announce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::Addresses(addresses) => {
                serializer.collect_seq(addresses.iter().map(|address| match address.port() {
                    0 => address.ip().to_string(),
                    _ => address.to_string(),
                }))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Announce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected \"auto\", an address, or a list of addresses")]
        enum Written {
            One(String),
            Many(Vec<String>),
        }
        let words = match Written::deserialize(deserializer)? {
            Written::One(word) => vec![word],
            Written::Many(words) => words,
        };
        if words == [AUTO] {
            return Ok(Self::Auto);
        }
        let addresses: Result<Vec<_>, _> = words.iter().map(|word| address(word).map_err(D::Error::custom)).collect();
        addresses.map(Self::Addresses)
    }
}

fn address(word: &str) -> Result<SocketAddr, String> {
    let bare = |word: &str| word.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    let wrong = match word {
        AUTO => String::from("\"auto\" stands alone, not beside addresses"),
        _ => {
            format!("\"{word}\" is no address: write 203.0.113.7, 203.0.113.7:3478 or [2001:db8::7]:3478, or \"auto\"")
        }
    };
    word.parse().or_else(|_| bare(word)).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Holder {
        announce: Announce,
    }

    fn read(text: &str) -> Result<Announce, String> {
        toml::from_str::<Holder>(&format!("announce = {text}")).map(|h| h.announce).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn auto_one_and_many_are_read_and_written() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let rows = [
            ("\"auto\"", Announce::Auto),
            ("[\"auto\"]", Announce::Auto),
            ("[]", Announce::default()),
            ("\"203.0.113.7\"", Announce::Addresses(vec![at("203.0.113.7:0")])),
            ("[\"203.0.113.7:3478\", \"2001:db8::7\"]", {
                Announce::Addresses(vec![at("203.0.113.7:3478"), at("[2001:db8::7]:0")])
            }),
        ];
        for (text, expected) in rows {
            let got = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(got, expected, "{text}");
            let again = toml::to_string(&Holder { announce: got.clone() }).expect("TOML");
            assert_eq!(toml::from_str::<Holder>(&again).expect("read again").announce, got, "{again}");
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for (text, word) in [("\"here\"", "here"), ("[\"auto\", \"203.0.113.7\"]", "stands alone"), ("7", "expected")] {
            let error = read(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
