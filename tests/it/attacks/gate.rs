//! Who may come in: foreign pages, names that lead here, networks, and proxies
//! that are none.

use std::net::{IpAddr, Ipv4Addr};

use boardcast::net::{Gate, Hosts, Limits, Networks, Origins, Proxies};

use super::*;

/// What was sent is forbidden, and counted as such.
fn forbidden(request: impl AsRef<str>, sentence: &str) {
    let siege = Siege::start();
    let answer = siege.ask(request.as_ref());
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains(sentence), "{}", answer.text());
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(siege.stats().refused_forbidden.get(), 1);
    siege.stands();
}

fn from_page(origin: &str) -> String {
    get_with("/api/latest", &format!("Origin: {origin}\r\n"))
}

fn to_name(host: &str) -> String {
    format!("GET /api/latest HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

attacks! { forbidden:
    fn a_page_of_another_origin_reads_nothing() => from_page("http://evil.example"), "--allow-origin";
    fn a_page_without_an_origin_of_its_own_reads_nothing() => from_page("null"), "--allow-origin";
    fn an_origin_that_begins_like_the_host_is_another() => from_page("http://localhost.evil.example"), "--allow-origin";
    fn an_origin_that_has_the_host_as_its_user_is_another() => from_page("http://localhost@evil.example"), "--allow-origin";
    fn an_origin_of_another_port_is_another() => from_page("http://localhost:1"), "--allow-origin";
    fn an_origin_of_another_scheme_is_another() => from_page("ftp://localhost"), "--allow-origin";
    fn an_origin_that_is_no_text_is_refused() => from_page("http://localhost\u{e9}"), "--allow-origin";
    fn two_origins_are_refused() => from_page("http://localhost\r\nOrigin: http://localhost"), "--allow-origin";
    fn a_name_that_was_made_to_lead_here_is_refused() => to_name("evil.example"), "--host evil.example";
    fn a_name_that_begins_like_an_address_is_refused() => to_name("127.0.0.1.evil.example"), "--host";
    fn a_name_with_the_board_as_its_user_is_refused() => to_name("localhost@evil.example"), "--host NAME";
    fn an_empty_name_is_refused() => to_name(""), "--host";
    fn a_refusal_repeats_no_markup() => to_name("<script>alert(1)</script>"), "--host NAME";
    fn a_rebound_page_that_is_of_its_own_host_is_refused() => to_name("evil.example\r\nOrigin: http://evil.example"), "--host";
    fn a_page_of_another_origin_publishes_nothing() => publish_with("Origin: http://evil.example\r\n"), "--allow-origin";
    fn a_page_of_another_origin_logs_no_one_in() => publish_with("Origin: http://evil.example\r\n").replace("/api/publish", "/login"), "--allow-origin";
    fn a_name_in_x_forwarded_host_does_not_count_for_a_stranger() => to_name("evil.example\r\nX-Forwarded-Host: localhost"), "--host";
}

/// A browser cannot see a status: it is told by a Close.
fn closed_with_4403(lines: &str, protocol: Option<&str>) {
    let siege = Siege::start();
    let mut stream = siege.tcp();
    send(&mut stream, handshake("/ws").replace("Host: localhost\r\n", lines));
    let mut reader = BufReader::new(stream);
    let answer = Answer::read_head(&mut reader);
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(answer.header("sec-websocket-protocol"), protocol);
    // The first frame is the Close: nothing was told.
    assert_eq!(reader.fill_buf().expect("a frame")[0], 0x88);
    assert_eq!(raw_close_code(&mut reader), Some(4403));
    drop(reader);
    siege.stands();
}

attacks! { closed_with_4403:
    fn a_stream_for_a_page_of_another_origin_is_closed() => "Host: localhost\r\nOrigin: http://evil.example\r\n", None;
    fn a_stream_for_a_page_without_origin_is_closed() => "Host: localhost\r\nOrigin: null\r\n", None;
    fn a_stream_for_a_rebound_page_is_closed() => "Host: evil.example\r\nOrigin: http://evil.example\r\n", None;
    fn a_refused_stream_takes_a_protocol_and_tells_nothing() => "Host: localhost\r\nOrigin: null\r\nSec-WebSocket-Protocol: boardcast.v1.bin\r\n", Some("boardcast.v1.bin");
}

#[test]
fn a_stream_under_a_foreign_name_is_refused_before_the_upgrade_where_no_browser_asks() {
    let siege = Siege::start();
    let answer = siege.ask(&handshake("/ws").replace("localhost", "evil.example"));
    assert_eq!(answer.status, 403);
    siege.stands();
}

#[test]
fn a_preflight_of_a_foreign_page_gets_no_leave() {
    let siege = Siege::start();
    let answer = siege.ask(
        "OPTIONS /api/publish HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\
         Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(answer.status, 403);
    assert!(!answer.head.to_ascii_lowercase().contains("access-control-allow"), "{}", answer.head);
    siege.stands();
}

#[test]
fn an_allowed_origin_is_named_and_never_a_star() {
    let origins = Origins::Own(vec!["https://panel.example".into()]);
    let siege = Siege::behind(Gate { origins, ..Gate::local() }, Limits::default());
    let answer = siege.ask(&from_page("https://panel.example"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://panel.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    // What is kept for one page must not be shown to another.
    assert!(answer.head.contains("Vary: Origin"), "{}", answer.head);
    for near in ["https://panel.example.evil", "https://xpanel.example", "http://panel.example"] {
        assert_eq!(siege.ask(&from_page(near)).status, 403, "{near}");
    }
    siege.stands();
}

#[test]
fn a_peer_of_a_denied_network_is_told_so_and_served_nothing() {
    let networks = Networks::local(Vec::new()).except(vec!["127.0.0.2".parse().expect("fine")]);
    let siege = Siege::behind(Gate { networks, ..Gate::local() }, Limits::default());
    let stranger = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    for request in [get_with("/api/latest", ""), handshake("/ws"), publish_with("")] {
        let mut stream = tcp_from(stranger, siege.address());
        send(&mut stream, request);
        let answer = Answer::read(&mut BufReader::new(stream));
        assert_eq!(answer.status, 403);
        assert!(answer.text().contains("--allow 127.0.0.2"), "{}", answer.text());
    }
    assert_eq!(siege.stats().refused_forbidden.get(), 3);
    siege.stands();
}

/// 127.0.0.1 is a proxy, and 127.0.0.2 is not.
fn behind_a_proxy() -> Siege {
    let gate = Gate {
        networks: Networks::local(Vec::new()).except(vec!["10.6.6.0/24".parse().expect("fine")]),
        proxies: Proxies(vec!["127.0.0.1".parse().expect("fine")]),
        hosts: Hosts::own(vec!["pi.example".into()]),
        ..Gate::local()
    };
    Siege::behind(gate, Limits::default())
}

/// What the proxy says of a client, and what that client gets.
fn through_the_proxy(lines: &str, status: u16) {
    let siege = behind_a_proxy();
    let answer = siege.ask(&publish_with(lines));
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(channels(siege.address()), ["count"]);
    siege.stands();
}

attacks! { through_the_proxy:
    fn who_comes_through_a_proxy_is_not_the_board_itself() => "X-Forwarded-For: 127.0.0.1\r\n", 403;
    fn who_puts_an_address_in_front_of_its_own_gains_nothing() => "X-Forwarded-For: 127.0.0.1, 192.168.1.9\r\n", 403;
    fn a_stranger_behind_a_proxy_is_a_stranger() => "X-Forwarded-For: 8.8.8.8\r\n", 403;
    fn a_denied_client_behind_a_proxy_is_denied() => "X-Forwarded-For: 10.6.6.6\r\n", 403;
    fn a_proxy_s_word_that_is_no_address_is_refused() => "X-Forwarded-For: localhost\r\n", 403;
    fn a_rebound_name_behind_a_proxy_is_refused() => "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Host: evil.example\r\n", 403;
    fn a_page_that_came_without_tls_does_not_ask_a_board_that_has_it() => "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Host: pi.example\r\nX-Forwarded-Proto: https\r\nOrigin: http://pi.example\r\n", 403;
}

#[test]
fn the_word_of_a_stranger_is_not_that_of_a_proxy() {
    let siege = behind_a_proxy();
    let stranger = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let ask_as = |request: String| {
        let mut stream = tcp_from(stranger, siege.address());
        send(&mut stream, request);
        Answer::read(&mut BufReader::new(stream)).status
    };
    // It is neither refused for what it says of others, nor let do more.
    assert_eq!(ask_as(get_with("/api/latest", "X-Forwarded-For: 8.8.8.8\r\n")), 200);
    for sign in ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1"] {
        assert_eq!(ask_as(publish_with(&format!("{sign}\r\n"))), 403, "{sign}");
    }
    let renamed = to_name("evil.example\r\nX-Forwarded-Host: pi.example");
    assert_eq!(ask_as(renamed), 403);
    siege.stands();
}
