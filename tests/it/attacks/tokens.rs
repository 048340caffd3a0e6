//! Who may do what: tokens that are guessed, bent, replayed or planted, the
//! form, and the cookie.

use boardcast::net::{Gate, Hosts, Limits, Proxies, Role, TokenEntry, Tokens};
use data_encoding::BASE64URL_NOPAD;

use super::*;

/// A board that shows itself to who has a token. All who ask come through a
/// proxy from 10.0.0.9, or from where `X-Forwarded-For` says.
struct Closed {
    siege: Siege,
    viewer: String,
    publisher: String,
}

impl Closed {
    fn start() -> Self {
        let (view, viewer) = TokenEntry::new("phone", Role::View).expect("a token");
        let (publish, publisher) = TokenEntry::new("shed", Role::Publish).expect("a token");
        let gate = Gate {
            proxies: Proxies(vec!["127.0.0.2".parse().expect("fine")]),
            hosts: Hosts::Any,
            tokens: Tokens::parse(&format!("{view}\n{publish}\n")).expect("valid"),
            view_needs_token: true,
            ..Gate::local()
        };
        Self { siege: Siege::behind(gate, Limits::default()), viewer, publisher }
    }

    /// What someone at this address is answered.
    fn ask_from(&self, client: &str, request: &str) -> Answer {
        let line = format!("\r\nX-Forwarded-For: {client}\r\n\r\n");
        let mut stream = tcp_from([127, 0, 0, 2].into(), self.siege.address());
        send(&mut stream, request.replacen("\r\n\r\n", &line, 1));
        Answer::read(&mut BufReader::new(stream))
    }

    fn ask(&self, request: &str) -> Answer {
        self.ask_from("10.0.0.9", request)
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn login(form: &str) -> String {
    let length = form.len();
    format!("POST /login HTTP/1.1\r\nHost: pi\r\nContent-Length: {length}\r\n\r\n{form}")
}

fn entry(token: &str) -> String {
    format!("boardcast.auth.{}", BASE64URL_NOPAD.encode(token.as_bytes()))
}

/// A path that shows nothing to who has no token, however it is written.
fn shut(path: &str, status: u16) {
    let closed = Closed::start();
    let answer = closed.ask(&get_with(path, ""));
    assert_eq!(answer.status, status, "{}", answer.head);
    assert!(!answer.text().contains("count"), "{}", answer.text());
    closed.siege.stands();
}

attacks! { shut:
    fn without_a_token_no_readings() => "/api/latest", 401;
    fn without_a_token_no_history() => "/api/history?channels=%23", 401;
    fn without_a_token_no_metrics() => "/metrics", 401;
    fn without_a_token_no_page() => "/", 401;
    fn a_path_below_the_form_is_not_the_form() => "/login/../api/latest", 401;
    fn a_path_that_is_decoded_to_the_form_is_not_the_form() => "/%6cogin", 401;
    fn a_form_with_another_path_behind_is_not_the_form() => "/login;/api/latest", 401;
    fn a_token_in_a_url_is_not_looked_at() => "/api/latest?token=bc_guess", 401;
    fn what_the_page_is_made_of_is_the_same_on_every_board_and_open() => "/favicon.svg", 200;
    fn a_path_below_what_is_open_is_not() => "/favicon.svg/../api/latest", 401;
    fn a_path_that_is_decoded_to_what_is_open_is_not() => "/app%2ejs", 401;
    fn a_query_makes_of_the_form_nothing_else() => "/login?/api/latest", 200;
}

#[test]
fn without_a_token_no_stream() {
    let closed = Closed::start();
    assert_eq!(closed.ask(&handshake("/ws")).status, 401);
    let mut stream = tcp_from([127, 0, 0, 2].into(), closed.siege.address());
    let lines = "X-Forwarded-For: 10.0.0.9\r\nOrigin: http://localhost\r\n";
    send(&mut stream, handshake_with(lines));
    assert_eq!(raw_close_code(&mut read_upgrade(stream)), Some(4401));
    closed.siege.stands();
}

/// One that is nearly right; it is told as one that is all wrong.
fn nearly(change: fn(&str) -> String, status: u16) {
    let closed = Closed::start();
    let right = closed.ask(&get_with("/api/latest", &bearer(&closed.viewer)));
    assert_eq!(right.status, 200);
    let wrong = change(&closed.viewer);
    let answer = closed.ask(&get_with("/api/latest", &bearer(&wrong)));
    assert_eq!(answer.status, status, "{wrong}");
    assert_eq!(answer.text(), closed.ask(&get_with("/", &bearer("x"))).text());
    closed.siege.stands();
}

attacks! { nearly:
    fn a_token_without_its_end_is_wrong() => |token| token[..token.len() - 1].into(), 401;
    fn a_token_with_more_behind_is_wrong() => |token| format!("{token}A"), 401;
    fn a_token_in_other_case_is_wrong() => str::to_ascii_uppercase, 401;
    fn two_tokens_in_one_are_wrong() => |token| format!("{token}, {token}"), 401;
    fn a_token_that_is_shown_twice_is_wrong() => |token| format!("{token}\r\nAuthorization: Bearer {token}"), 401;
    fn the_hash_from_the_file_opens_nothing() => |_| format!("sha256:{}", "0".repeat(64)), 401;
    fn the_name_of_a_token_opens_nothing() => |_| "phone".into(), 401;
    fn a_token_of_7_kib_is_wrong() => |_| "bc_".repeat(2400), 401;
}

#[test]
fn guesses_count_together_whichever_way_they_come() {
    let mut closed = Closed::start();
    let guess = bearer("bc_guess");
    assert_eq!(closed.ask(&get_with("/metrics", &guess)).status, 401);
    assert_eq!(closed.ask(&get_with("/nothing", &guess)).status, 401);
    assert_eq!(closed.ask(&login("token=bc_guess")).status, 401);
    let protocols = format!("Sec-WebSocket-Protocol: {}\r\n", entry("bc_guess"));
    assert_eq!(closed.ask(&handshake_with(&protocols)).status, 401);
    let cookie = "Cookie: boardcast_token=bc_guess\r\n";
    assert_eq!(closed.ask(&get_with("/api/latest", cookie)).status, 401);
    closed.siege.goes_on();
    // From here on none is looked at, not even the right one.
    for request in [
        get_with("/api/latest", &bearer(&closed.viewer)),
        get_with("/metrics", cookie),
        login(&format!("token={}", closed.viewer)),
        handshake_with(&protocols),
        publish_with(&bearer(&closed.publisher)),
    ] {
        let answer = closed.ask(&request);
        assert_eq!(answer.status, 429, "{request}");
        let wait: u64 = answer.header("retry-after").expect("when").parse().expect("seconds");
        assert!((1..=61).contains(&wait), "come back in {wait} s");
    }
    let counted = closed.siege.stats();
    assert_eq!((counted.refused_unauthorized.get(), counted.refused_tries.get()), (4, 4));
    // Others are not held up by it.
    let other = closed.ask_from("10.0.0.10", &get_with("/api/latest", &bearer(&closed.viewer)));
    assert_eq!(other.status, 200);
    closed.siege.stands();
}

#[test]
fn guesses_from_many_addresses_of_one_network_count_together() {
    let closed = Closed::start();
    let guess = get_with("/metrics", &bearer("bc_guess"));
    for host in 1..=5 {
        assert_eq!(closed.ask_from(&format!("fd00::{host}"), &guess).status, 401);
    }
    assert_eq!(closed.ask_from("fd00::ffff:1", &guess).status, 429);
    assert_eq!(closed.ask_from("fd00:0:0:1::1", &guess).status, 401);
    closed.siege.stands();
}

#[test]
fn guesses_from_a_thousand_addresses_cost_no_more_room() {
    let mut closed = Closed::start();
    let guess = get_with("/metrics", &bearer("bc_guess"));
    for host in 0..1000 {
        let client = format!("10.1.{}.{}", host / 250, host % 250);
        assert_eq!(closed.ask_from(&client, &guess).status, 401);
    }
    closed.siege.goes_on();
    closed.siege.stands();
}

#[test]
fn who_may_look_may_not_publish() {
    let closed = Closed::start();
    let answer = closed.ask(&publish_with(&bearer(&closed.viewer)));
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("--role publish"), "{}", answer.text());
    assert_eq!(channels(closed.siege.address()), ["count"]);
    let mut stream = tcp_from([127, 0, 0, 2].into(), closed.siege.address());
    let lines = format!("X-Forwarded-For: 10.0.0.9\r\n{}", bearer(&closed.viewer));
    send(&mut stream, handshake_with(&lines));
    let mut client = Client::over(read_upgrade(stream));
    assert_eq!(client.next("hello")["may_publish"], false);
    client.say(r#"{"type":"publish","id":7,"values":{"stolen":1}}"#);
    assert_eq!(client.next("error")["code"], "not_allowed");
    assert_eq!(channels(closed.siege.address()), ["count"]);
    drop(client);
    closed.siege.stands();
}

#[test]
fn a_cookie_does_not_work_from_a_page_of_another_origin() {
    let closed = Closed::start();
    let lines =
        format!("Cookie: boardcast_token={}\r\nOrigin: http://evil.example\r\n", closed.publisher);
    assert_eq!(closed.ask(&publish_with(&lines)).status, 403);
    assert_eq!(channels(closed.siege.address()), ["count"]);
    closed.siege.stands();
}

#[test]
fn the_cookie_is_kept_from_scripts_and_from_other_sites() {
    let closed = Closed::start();
    let answer = closed.ask(&login(&format!("token={}", closed.viewer)));
    assert_eq!((answer.status, answer.header("location")), (303, Some("./")));
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Secure") && !cookie.contains("Domain"), "{cookie}");
    let secure = login(&format!("token={}", closed.viewer)).replacen(
        "\r\n\r\n",
        "\r\nX-Forwarded-Proto: https\r\n\r\n",
        1,
    );
    let answer = closed.ask(&secure);
    assert!(answer.header("set-cookie").expect("a cookie").ends_with("; Secure"));
    closed.siege.stands();
}

#[test]
fn a_link_logs_no_one_in() {
    let closed = Closed::start();
    let answer = closed.ask(&get_with(&format!("/login?token={}", closed.viewer), ""));
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    closed.siege.stands();
}

#[test]
fn the_form_is_framed_by_no_other_site_and_runs_no_script() {
    let closed = Closed::start();
    let answer = closed.ask(&login("token=%3Cscript%3Ealert(1)%3C/script%3E"));
    assert_eq!(answer.status, 401);
    assert!(!answer.text().contains("<script"), "{}", answer.text());
    let policy = answer.header("content-security-policy").expect("a policy");
    for rule in ["default-src 'none'", "frame-ancestors 'self'", "form-action 'self'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe-inline"), "{policy}");
    closed.siege.stands();
}

#[test]
fn a_form_that_is_too_long_is_not_read() {
    let closed = Closed::start();
    let long = format!("token={}", "x".repeat(64 * 1024));
    let request =
        login("").replace("Content-Length: 0", &format!("Content-Length: {}", long.len()));
    assert_eq!(closed.ask(&request).status, 413);
    closed.siege.stands();
}

#[test]
fn a_token_among_the_protocols_is_never_named_in_the_answer() {
    let closed = Closed::start();
    let entry = entry(&closed.viewer);
    for (offered, chosen) in
        [(entry.clone(), None), (format!("{entry}, boardcast.v1.bin"), Some("boardcast.v1.bin"))]
    {
        let mut stream = tcp_from([127, 0, 0, 2].into(), closed.siege.address());
        let lines = format!("X-Forwarded-For: 10.0.0.9\r\nSec-WebSocket-Protocol: {offered}\r\n");
        send(&mut stream, handshake_with(&lines));
        let answer = Answer::read_head(&mut BufReader::new(stream));
        assert_eq!(answer.status, 101, "{}", answer.head);
        assert_eq!(answer.header("sec-websocket-protocol"), chosen);
        assert!(!answer.head.contains("boardcast.auth"), "{}", answer.head);
    }
    closed.siege.stands();
}

#[test]
fn a_method_that_is_claimed_in_a_header_is_not_the_method() {
    let closed = Closed::start();
    let lines = format!("{}X-HTTP-Method-Override: POST\r\n", bearer(&closed.publisher));
    assert_eq!(closed.ask(&get_with("/api/publish?stolen=1", &lines)).status, 405);
    assert_eq!(channels(closed.siege.address()), ["count"]);
    closed.siege.stands();
}
