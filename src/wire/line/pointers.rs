//! JSON documents of any form, of which JSON pointers (RFC 6901) name the parts.

use crate::{error::Result, telemetry::ChannelName};

/// Which place in a document is which channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointers {
    list: Vec<(ChannelName, String)>,
}

impl Pointers {
    /// Names the places.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) when one is no pointer, or
    /// there is none.
    pub fn parse(list: &[(ChannelName, String)]) -> Result<Self> {
        Ok(Self { list: list.to_vec() })
    }
}
