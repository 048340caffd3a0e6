//! Where readings come from: one file a kind, each a pure parser over text
//! and a thin reader over an injected root folder.
//!
//! A polled [`Source`] is asked at each tick of the [`Sampler`] what it sees,
//! and answers with plain data ([`Readings`]); it knows neither the hub nor the
//! clock. What it no longer mentions is gone. Programs that push when they like
//! need no source: they take a [`Publisher`](crate::telemetry::Publisher).
//!
//! What is pushed in comes through [`inputs`] and over HTTP; each kind of input
//! is one [`Intake`].

pub mod configured;
mod demo;
pub mod found;
mod iio;
pub mod inputs;
mod isolated;
mod own;
mod publication;
mod pushed;
mod readings;
mod sampler;
pub mod vitals;

pub use self::{
    demo::{Demo, RunningDemo},
    own::Own,
    pushed::{Counts, Intake, Turn},
    readings::{Reading, Readings},
    sampler::{Running, Sampler},
};
use crate::telemetry::BootTime;

/// A source that the sampler polls.
pub trait Source: Send {
    /// Its name, as in a channel's `source`.
    fn name(&self) -> &str;

    /// Puts what it sees now into `readings`. Not called at ticks at which no
    /// reading of it would be taken: see [`Rule`](crate::telemetry::Rule). A file that is missing is a
    /// channel that does not exist, and left out; a file that is there but
    /// cannot be read is a [failed](Readings::fail) channel.
    fn sample(&mut self, at: BootTime, readings: &mut Readings);
}
