//! Stands for `deflate` where that is not compiled in: nothing is ever agreed
//! on, so nothing is ever compressed.

use std::{
    fmt,
    io::{self, Read},
};

use bytes::Bytes;
use tungstenite::protocol::frame::coding::OpCode;

/// There is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreement {}

impl Agreement {
    pub(crate) const OFFER: Option<&str> = None;

    pub(crate) fn choose<'a>(_: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        None
    }

    pub(crate) fn accepted(answer: &str) -> Result<Option<Self>, String> {
        match answer {
            "" => Ok(None),
            _ => Err(format!("the server chose an extension that was not offered: {answer:?}")),
        }
    }

    pub(crate) fn window(&self) -> u8 {
        match *self {}
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

pub(crate) fn deflate_frame(_: OpCode, _: &[u8], _: u8) -> Option<Bytes> {
    None
}

pub(crate) fn deflate(_: &[u8], _: u8) -> Option<Vec<u8>> {
    None
}

#[derive(Debug)]
pub(crate) struct Inflater(Agreement);

impl Inflater {
    pub(crate) fn new(agreement: Agreement, _: &[u8]) -> Self {
        match agreement {}
    }

    pub(crate) fn read(&mut self, _: &mut impl Read, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Corrupt {}

impl Corrupt {
    pub(crate) fn caused(_: &io::Error) -> bool {
        false
    }
}
