//! The head of a request: broken, bent, too long, or not HTTP at all.

use super::*;

/// What was sent is answered with this status, and then the connection ends.
fn answered(sent: impl AsRef<[u8]>, status: u16) {
    let mut siege = Siege::start();
    let statuses = siege.statuses(sent.as_ref());
    assert_eq!(statuses, [status]);
    siege.goes_on();
    siege.stands();
}

fn without(line: &str) -> String {
    let whole = handshake("/ws");
    let without: String = whole.split_inclusive("\r\n").filter(|l| !l.starts_with(line)).collect();
    assert_ne!(without, whole);
    without
}

/// A request with one header line more.
fn with(line: &[u8]) -> Vec<u8> {
    let start = b"GET /api/latest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    [start, line, b"\r\n\r\n"].concat()
}

/// A request with a target that may be anything.
fn to(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// A request whose head has this many bytes, its end included.
fn long(bytes: usize) -> String {
    let rest = to("/api/latest?").len();
    to(&format!("/api/latest?{}", "x".repeat(bytes - rest)))
}

/// A request with this many header lines.
fn lines(count: usize) -> Vec<u8> {
    with("A: b\r\n".repeat(count - 2).trim_end().as_bytes())
}

attacks! { answered:
    fn a_handshake_without_key() => without("Sec-WebSocket-Key"), 400;
    fn a_handshake_with_two_keys() => handshake_with("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"), 400;
    fn a_handshake_with_a_key_of_17_bytes() => handshake("/ws").replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQA="), 400;
    fn a_handshake_without_version() => without("Sec-WebSocket-Version"), 426;
    fn a_handshake_with_two_versions() => handshake("/ws").replace("Version: 13", "Version: 13, 8"), 426;
    fn a_handshake_by_post() => handshake("/ws").replace("GET", "POST"), 405;
    fn a_handshake_in_http_1_0() => handshake("/ws").replace("HTTP/1.1", "HTTP/1.0"), 400;
    fn a_handshake_with_a_body() => handshake_with("Transfer-Encoding: chunked\r\n"), 400;
    fn a_handshake_with_foreign_protocols_only() => handshake_with("Connection: close\r\nSec-WebSocket-Protocol: mqtt\r\n"), 400;
    fn an_upgrade_to_http_2() => with(b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), 200;
    fn sixty_four_header_lines_are_read() => lines(64), 200;
    fn sixty_five_header_lines_are_not() => lines(65), 431;
    fn a_head_of_8_kib_is_read() => long(8192), 200;
    fn a_head_of_8_kib_and_a_byte_is_not() => long(8193), 431;
    fn empty_lines_without_end() => "\r\n".repeat(5000), 431;
    fn a_method_of_7_kib() => to("/api/latest").replacen("GET", &"X".repeat(7000), 1), 405;
    fn a_method_that_is_no_token() => to("/api/latest").replacen("GET", "G(T", 1), 400;
    fn a_zero_byte_in_a_header() => with(b"A: b\0c"), 400;
    fn a_zero_byte_in_the_name_of_a_header() => with(b"A\0: b"), 400;
    fn a_zero_byte_in_the_target() => to("/api/\0latest"), 400;
    fn a_bare_carriage_return_in_a_header() => with(b"A: b\rTransfer-Encoding: chunked"), 400;
    fn a_header_without_a_name() => with(b": b"), 400;
    fn a_blank_before_the_colon() => with(b"Transfer-Encoding : chunked"), 400;
    fn a_folded_header() => with(b"A: b\r\n c"), 400;
    fn a_folded_first_header() => "GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", 400;
    fn lines_that_end_without_carriage_return_are_lines() => "GET /api/latest HTTP/1.1\nHost: localhost\nConnection: close\n\n", 200;
    fn no_host() => "GET / HTTP/1.1\r\n\r\n", 400;
    fn two_hosts() => with(b"Host: localhost"), 400;
    fn a_target_that_names_another_host() => to("http://evil.example/api/latest"), 400;
    fn a_target_that_is_no_more_than_a_host() => to("evil.example:443").replacen("GET", "CONNECT", 1), 400;
    fn a_target_that_names_this_host() => to("http://LocalHost/api/latest"), 200;
    fn a_target_that_is_a_star() => to("*").replacen("GET", "OPTIONS", 1), 404;
    fn http_0_9() => "GET /api/latest\r\n\r\n", 400;
    fn the_preface_of_http_2() => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505;
    fn a_version_that_is_none() => to("/").replacen("HTTP/1.1", "HTTP/9.9", 1), 505;
    fn tls_where_there_is_none() => b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".as_slice(), 400;
    fn another_protocol_altogether() => "SSH-2.0-OpenSSH_9.2\r\n", 400;
    fn a_path_above_the_root() => to("/../../../etc/passwd"), 404;
    fn a_path_above_the_root_in_percent() => to("/%2e%2e/%2e%2e/etc/passwd"), 404;
    fn a_path_above_the_root_in_percent_twice() => to("/%252e%252e%252fetc%252fpasswd"), 404;
    fn a_path_above_the_root_with_backslashes() => to("/..%5c..%5cetc%5cpasswd"), 404;
    fn a_path_above_the_root_in_overlong_utf_8() => to("/%c0%ae%c0%ae/etc/passwd"), 404;
    fn a_path_with_an_encoded_zero() => to("/api/latest%00.js"), 404;
    fn a_path_with_a_broken_percent() => to("/%"), 404;
    fn a_path_that_begins_twice() => to("//api/latest"), 404;
    fn a_query_with_broken_percents() => to("/api/history?channels=%&last=%zz"), 400;
    fn a_thousand_ranges() => with(format!("Range: bytes={}", "0-,".repeat(1000)).as_bytes()), 200;
    fn a_weight_that_is_no_number() => with(b"Accept-Encoding: gzip;q=1e999, *;q=nan"), 200;
    fn an_expectation_that_is_unknown() => with(b"Expect: 200-maybe"), 200;
}

#[test]
fn line_breaks_in_a_target_become_no_header() {
    let siege = Siege::start();
    for target in ["/%0d%0aSet-Cookie:%20a=b", "/ws?x=%0d%0aSet-Cookie:%20a=b", "/login%0d%0a"] {
        let answer = siege.ask(&to(target));
        assert!(answer.status >= 400, "{target}");
        assert_eq!(answer.header("set-cookie"), None, "{}", answer.head);
    }
    siege.stands();
}

#[test]
fn a_path_that_begins_twice_leads_nowhere_else() {
    let siege = Siege::start();
    for target in ["//evil.example", "//evil.example/%2e%2e", "/\\evil.example"] {
        let answer = siege.ask(&to(target));
        assert_eq!((answer.status / 100, answer.header("location")), (4, None), "{target}");
    }
    siege.stands();
}

#[test]
fn garbage_behind_a_request_is_refused_and_the_request_is_served() {
    let siege = Siege::start();
    let good = "GET /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(siege.statuses(format!("{good}\0\0\0\0").as_bytes()), [200, 400]);
    assert_eq!(siege.stats().refused_head.get(), 1);
    siege.stands();
}

#[test]
fn a_thousand_requests_at_once_are_answered_in_turn() {
    let siege = Siege::start();
    let one = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = siege.tcp();
    let mut writer = stream.try_clone().expect("cloned");
    let writing = std::thread::spawn(move || send(&mut writer, one.repeat(1000)));
    let mut reader = BufReader::new(&mut stream);
    for _ in 0..1000 {
        assert_eq!(Answer::read(&mut reader).status, 404);
    }
    writing.join().expect("sent");
    drop(stream);
    siege.stands();
}
