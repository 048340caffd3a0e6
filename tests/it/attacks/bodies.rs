//! Where a body ends: two that disagree on that can be made to disagree on
//! where the next request begins (request smuggling). Here a connection never
//! has a next request behind a body, whatever its end is said to be.

use std::{io::Write, time::Duration};

use super::*;

/// A request to be smuggled in behind a body: it would publish.
const SMUGGLED: &str = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n\
                        smuggled=1";

/// These header lines and this body get one answer, and what stands behind
/// them none.
fn one_answer((lines, body): (&str, &str), status: u16) {
    let mut siege = Siege::start();
    let head = format!("POST /api/publish HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n");
    let statuses = siege.statuses(format!("{head}{body}{SMUGGLED}").as_bytes());
    assert_eq!(statuses, [status]);
    assert!(!channels(siege.address()).contains(&"smuggled".to_owned()));
    siege.goes_on();
    siege.stands();
}

attacks! { one_answer:
    fn a_length_and_chunks() => ("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400;
    fn chunks_and_a_length() => ("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"), 400;
    fn two_lengths_that_differ() => ("Content-Length: 3\r\nContent-Length: 30", "a=1"), 400;
    fn two_lengths_that_are_the_same() => ("Content-Length: 3\r\nContent-Length: 3", "a=1"), 400;
    fn two_lengths_in_one_line() => ("Content-Length: 3, 3", "a=1"), 400;
    fn a_length_with_a_sign() => ("Content-Length: +3", "a=1"), 400;
    fn a_length_below_zero() => ("Content-Length: -3", "a=1"), 400;
    fn a_length_in_hexadecimal() => ("Content-Length: 0x3", "a=1"), 400;
    fn a_length_of_nothing() => ("Content-Length:", "a=1"), 400;
    fn a_length_beyond_all_numbers() => ("Content-Length: 99999999999999999999999999", ""), 413;
    fn a_length_with_zeros_in_front() => ("Content-Length: 0000000003", "a=1"), 200;
    fn chunks_under_another_name() => ("Transfer-Encoding: xchunked", "0\r\n\r\n"), 501;
    fn chunks_twice() => ("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"), 501;
    fn chunks_and_then_nothing() => ("Transfer-Encoding: chunked, identity", "0\r\n\r\n"), 501;
    fn chunks_in_two_lines() => ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", "0\r\n\r\n"), 501;
    fn chunks_that_are_no_text() => ("Transfer-Encoding: chunked\u{b}", "0\r\n\r\n"), 400;
    fn chunks_on_a_folded_line() => ("X: y\r\n Transfer-Encoding: chunked", "0\r\n\r\n"), 400;
    fn a_chunk_of_negative_size() => ("Transfer-Encoding: chunked", "-1\r\na\r\n0\r\n\r\n"), 400;
    fn a_chunk_of_a_size_with_prefix() => ("Transfer-Encoding: chunked", "0x3\r\na=1\r\n0\r\n\r\n"), 400;
    fn a_chunk_of_a_size_beyond_all_numbers() => ("Transfer-Encoding: chunked", "fffffffffffffffff\r\na=1\r\n0\r\n\r\n"), 400;
    fn a_chunk_that_is_longer_than_it_says() => ("Transfer-Encoding: chunked", "3\r\na=12\r\n0\r\n\r\n"), 400;
    fn chunks_whose_lines_end_without_carriage_return() => ("Transfer-Encoding: chunked", "3\na=1\n0\n\n"), 200;
}

#[test]
fn a_body_behind_a_get_is_no_next_request() {
    let siege = Siege::start();
    for lines in ["Content-Length: 0\r\nContent-Length: 140", "Content-Length: 140"] {
        let get =
            format!("GET /api/latest HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n{SMUGGLED}");
        assert_eq!(siege.statuses(get.as_bytes()), [200], "{lines}");
    }
    assert_eq!(channels(siege.address()), ["count"]);
    siege.stands();
}

#[test]
fn chunks_in_http_1_0_end_the_connection_too() {
    let siege = Siege::start();
    let head = "POST /api/publish HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n";
    let statuses = siege.statuses(format!("{head}3\r\na=1\r\n0\r\n\r\n{SMUGGLED}").as_bytes());
    assert_eq!(statuses, [200]);
    assert_eq!(channels(siege.address()), ["count", "a"]);
    siege.stands();
}

#[test]
fn a_chunk_with_an_extension_without_end() {
    let body = format!("3;{}\r\na=1\r\n0\r\n\r\n", "x".repeat(2000));
    one_answer(("Transfer-Encoding: chunked", &body), 400);
}

#[test]
fn chunks_that_are_too_much_in_all() {
    let body = "1000\r\n".to_owned() + &"x".repeat(0x1000) + "\r\n";
    one_answer(("Transfer-Encoding: chunked", &body.repeat(17)), 413);
}

#[test]
fn a_chunk_that_never_comes_takes_no_room() {
    let siege = Siege::start();
    let head =
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    // The peer goes before its 256 MiB have come: nobody is left to be told.
    let statuses = siege.statuses(format!("{head}fffffff\r\nsmuggled=1\n").as_bytes());
    assert!(statuses.is_empty(), "{statuses:?}");
    assert_eq!(channels(siege.address()), ["count"]);
    siege.stands();
}

#[test]
fn trailers_without_end_are_over_when_the_time_for_a_body_is() {
    let mut siege =
        Siege::with(Limits { body_time: Duration::from_millis(300), ..Limits::default() });
    let mut stream = siege.tcp();
    let head =
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    send(&mut stream, head);
    let mut writer = stream.try_clone().expect("cloned");
    let endless = std::thread::spawn(move || {
        while writer.write_all(b"X: y\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    siege.goes_on();
    assert_eq!(Answer::read(&mut BufReader::new(stream)).status, 408);
    endless.join().expect("joined");
    siege.stands();
}
