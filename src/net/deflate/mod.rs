//! permessage-deflate (RFC 7692): messages travel compressed.
//!
//! tungstenite has no such extension, and need not know of it:
//!
//! ```text
//!  peer ──▶ socket ──▶ Inflater: plain frames, RSV1 clear ──▶ tungstenite
//!  peer ◀── socket ◀── Outlet ◀── whole frames, RSV1 set ◀── deflate_frame, once for all
//! ```
//!
//! Both directions go without context takeover: each message is compressed by
//! itself. So one compressed frame serves every client, and between messages a
//! connection keeps nothing. While a compressed message comes in it costs 51 KiB,
//! whatever it expands to. Of these and of compressors (161 KiB) a few are kept.
//!
//! Without the feature `deflate`, `off.rs` stands here: no agreement comes about.

mod agreement;
mod compress;
mod inflater;
mod pieces;
mod spares;

pub(crate) use self::{
    agreement::Agreement,
    compress::{deflate, deflate_frame},
    inflater::Inflater,
    pieces::Corrupt,
};
