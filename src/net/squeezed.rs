//! Frames from feeds, compressed for the clients that agreed on it: once for
//! all of them, whichever worker serves them.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use tungstenite::protocol::frame::coding::OpCode;

use super::{
    deflate::{Agreement, deflate_frame},
    feed::Frames,
};

/// The last frames, plain and compressed; bounded in number and in bytes.
#[derive(Debug, Default)]
pub(super) struct Squeezed(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The plain frame is kept beside the other, so that its place in memory
    /// stays its own.
    frames: VecDeque<(Bytes, u8, Bytes)>,
    bytes: usize,
}

impl Squeezed {
    const MOST: usize = Frames::MOST;
    const BYTES: usize = 256 * 1024;

    /// Puts compressed frames in the place of plain ones, where they are
    /// smaller.
    pub(super) fn apply(&self, frames: &mut Frames, agreement: Agreement) {
        // Held while compressing: who wants the same frame waits for it
        // instead of doing it again. Nothing in here blocks.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for frame in frames.iter_mut() {
            *frame = kept.compressed(frame, agreement.window());
        }
    }
}

impl Kept {
    fn compressed(&mut self, plain: &Bytes, window: u8) -> Bytes {
        let same = |(known, of, _): &&(Bytes, u8, Bytes)| {
            known.as_ptr() == plain.as_ptr() && known.len() == plain.len() && *of == window
        };
        // The newest is asked for most.
        if let Some((_, _, frame)) = self.frames.iter().rev().find(same) {
            return frame.clone();
        }
        let frame = compress(plain, window).unwrap_or_else(|| plain.clone());
        self.bytes += plain.len() + frame.len();
        self.frames.push_back((plain.clone(), window, frame.clone()));
        while self.frames.len() > Squeezed::MOST || self.bytes > Squeezed::BYTES {
            let Some((plain, _, frame)) = self.frames.pop_front() else { break };
            self.bytes -= plain.len() + frame.len();
        }
        frame
    }
}

/// A whole, final, unmasked frame; `None` when it is better sent as it is.
fn compress(frame: &Bytes, window: u8) -> Option<Bytes> {
    let (first, second) = (frame.first()?, frame.get(1)?);
    let header = match second {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    match OpCode::from(first & 0x0f) {
        opcode @ OpCode::Data(_) => deflate_frame(opcode, frame.get(header..)?, window),
        OpCode::Control(_) => None,
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;
    use crate::net::text_frame;

    #[test]
    fn a_frame_is_compressed_once_for_all_who_agreed_on_the_same() {
        let squeezed = Squeezed::default();
        let agreed = |offer| Agreement::choose([offer]).expect("acceptable");
        let usual = agreed("permessage-deflate");
        let small = agreed("permessage-deflate; server_max_window_bits=9");
        let (long, short) = (text_frame(&"boardcast ".repeat(100)), text_frame("short"));
        let apply = |agreement| {
            let mut frames = Frames::default();
            frames.push(long.clone());
            frames.push(short.clone());
            squeezed.apply(&mut frames, agreement);
            frames.as_slice().to_vec()
        };
        let (first, second, other) = (apply(usual), apply(usual), apply(small));
        assert_eq!(first[0].as_ptr(), second[0].as_ptr(), "the same bytes");
        assert_ne!(first[0].as_ptr(), other[0].as_ptr());
        assert_eq!(first[0][0], 0xc1, "RSV1 says that it is compressed");
        assert!(first[0].len() < long.len() / 5);
        assert_eq!(first[1], short, "too short to be worth it");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let squeezed = Squeezed::default();
        let agreed = Agreement::choose(["permessage-deflate"]).expect("acceptable");
        for number in 0..200 {
            let mut frames = Frames::default();
            frames.push(text_frame(&format!("{number} ").repeat(5000)));
            squeezed.apply(&mut frames, agreed);
        }
        let kept = squeezed.0.lock().expect("unharmed");
        assert!(kept.frames.len() <= Squeezed::MOST && kept.bytes <= Squeezed::BYTES);
        assert!(!kept.frames.is_empty());
    }
}
