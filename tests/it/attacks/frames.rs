//! The framing of messages (RFC 6455 section 5), and the codes that whoever
//! breaks it gets. The first such tests are in `misbehaviour`.

use super::*;

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const CLOSE: u8 = 0x88;

/// What was sent is answered with a Close of this code.
fn closed(sent: Vec<u8>, code: u16) {
    let mut siege = Siege::start();
    let mut stream = siege.tcp();
    send(&mut stream, handshake_with("Via: 1.1 proxy\r\n"));
    let mut stream = read_upgrade(stream);
    send(&mut stream, sent);
    assert_eq!(raw_close_code(&mut stream), Some(code));
    siege.goes_on();
    drop(stream);
    siege.stands();
}

/// A Close with this code.
fn close(code: u16) -> Vec<u8> {
    client_frame(CLOSE, &code.to_be_bytes())
}

/// A Close with a reason.
fn close_for(reason: &[u8]) -> Vec<u8> {
    client_frame(CLOSE, &[&1000_u16.to_be_bytes(), reason].concat())
}

/// A frame that says it is so long; nothing of it comes.
fn announced(length: u64) -> Vec<u8> {
    let mut frame = vec![TEXT, 0xff];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame
}

fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[first, length], payload].concat()
}

attacks! { closed:
    fn the_second_reserved_bit() => client_frame(TEXT | 0x20, b"{}"), 1002;
    fn the_third_reserved_bit() => client_frame(TEXT | 0x10, b"{}"), 1002;
    fn a_reserved_bit_in_a_ping() => client_frame(PING | 0x40, b""), 1002;
    fn the_last_opcode_of_data() => client_frame(0x87, b""), 1002;
    fn the_first_unknown_opcode_of_control() => client_frame(0x8b, b""), 1002;
    fn the_last_opcode() => client_frame(0x8f, b""), 1002;
    fn a_ping_that_is_not_masked() => unmasked(PING, b""), 1002;
    fn a_close_that_is_not_masked() => unmasked(CLOSE, &1000_u16.to_be_bytes()), 1002;
    fn a_close_with_one_byte() => client_frame(CLOSE, &[3]), 1002;
    fn a_close_with_code_0() => close(0), 1002;
    fn a_close_with_code_1004() => close(1004), 1002;
    fn a_close_with_code_1005() => close(1005), 1002;
    fn a_close_with_code_1006() => close(1006), 1002;
    fn a_close_with_code_1015() => close(1015), 1002;
    fn a_close_with_code_1016() => close(1016), 1002;
    fn a_close_with_code_2999() => close(2999), 1002;
    fn a_close_with_code_5000() => close(5000), 1002;
    fn a_close_with_code_65535() => close(65535), 1002;
    fn a_close_with_a_code_of_its_own_is_answered_with_it() => close(4999), 4999;
    fn a_close_whose_reason_is_no_text() => close_for(b"\xff\xff"), 1007;
    fn a_close_whose_reason_is_too_long() => close_for(&[b'x'; 124]), 1002;
    fn half_a_surrogate_in_utf_8() => client_frame(TEXT, b"\xed\xa0\x80"), 1007;
    fn an_overlong_character() => client_frame(TEXT, b"\xc0\xaf"), 1007;
    fn a_character_beyond_the_last() => client_frame(TEXT, b"\xf4\x90\x80\x80"), 1007;
    fn a_character_without_its_end() => client_frame(TEXT, b"\xe2\x82"), 1007;
    fn a_ping_in_fragments() => client_frame(PING & 0x7f, b"x"), 1002;
    fn a_close_in_fragments() => client_frame(CLOSE & 0x7f, b""), 1002;
    fn a_message_within_a_message() => [client_frame(0x01, b"a"), client_frame(TEXT, b"b")].concat(), 1002;
    fn a_continuation_behind_a_whole_message() => [client_frame(TEXT, b"{}"), client_frame(0x80, b"")].concat(), 1002;
    fn a_length_with_its_first_bit_set() => announced(1 << 63), 1009;
    fn a_length_of_all_bits() => announced(u64::MAX), 1009;
    fn a_length_of_4_gib() => announced(1 << 32), 1009;
    fn a_length_of_16_kib_and_a_byte_in_64_bits() => announced(16 * 1024 + 1), 1009;
    fn a_ping_of_20_kib() => client_frame(PING, &[0; 20_000]), 1009;
    fn fragments_of_one_byte_beyond_the_bound() => [client_frame(0x01, b"x"), client_frame(0x00, b"x").repeat(16 * 1024)].concat(), 1009;
    fn random_bytes() => (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x70).collect(), 1002;
}

#[test]
fn what_comes_behind_a_close_is_not_heard() {
    let siege = Siege::start();
    let mut stream = raw_websocket(siege.address(), "/ws?channels=none");
    let publish = client_frame(TEXT, br#"{"type":"publish","values":{"late":1}}"#);
    send(&mut stream, [close(1000), publish].concat());
    assert_eq!(raw_close_code(&mut stream), Some(1000));
    assert_eq!(std::io::Read::read(&mut stream, &mut [0]).unwrap_or(0), 0);
    assert_eq!(channels(siege.address()), ["count"]);
    siege.stands();
}

#[test]
fn pings_beside_unread_pongs_take_no_more_room_than_one() {
    let siege = Siege::start();
    let mut stream = siege.tcp();
    send(&mut stream, handshake_with("Via: 1.1 proxy\r\n"));
    let mut stream = read_upgrade(stream);
    send(&mut stream, client_frame(PING, &[b'x'; 125]).repeat(300));
    assert_eq!(raw_close_code(&mut stream), Some(1008));
    assert_eq!(siege.stats().ended_policy.get(), 1);
    drop(stream);
    siege.stands();
}
