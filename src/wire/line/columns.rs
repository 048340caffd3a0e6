//! Lines of values with a separator between, as in CSV.

use crate::error::Result;

/// Which column is which channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    names: Vec<String>,
    separator: char,
}

impl Columns {
    /// Names the columns in their order; one that is called `-` is left out.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) when a name is not valid, or
    /// no column has one.
    pub fn parse(names: &[String], separator: char) -> Result<Self> {
        Ok(Self { names: names.to_vec(), separator })
    }
}
