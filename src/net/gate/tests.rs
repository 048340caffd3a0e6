//! The gate as a table: who asks, how, and what becomes of it.

use std::net::SocketAddr;

use super::{super::http::Parsed, *};

fn request(peer: &str, target: &str, lines: &str) -> Box<Request> {
    let head = format!("{target} HTTP/1.1\r\n{lines}\r\n");
    let peer = SocketAddr::new(peer.parse().expect("an address"), 9);
    match Request::parse(head.as_bytes(), peer) {
        Ok(Parsed::Whole(request, _)) => request,
        _ => panic!("{head}"),
    }
}

/// The status of a refusal; 200 with leave to publish, 204 without.
fn verdict(gate: &Gate, tries: &Tries, peer: &str, target: &str, lines: &str) -> u16 {
    let now = Instant::now();
    let mut request = request(peer, target, lines);
    if gate.refuse_peer(request.peer().ip(), now).is_some() {
        return 403;
    }
    match gate.judge(&mut request, tries, now, &|_| false) {
        Err(refused) => refused.response(&request).status(),
        Ok(()) if request.may_publish() => 200,
        Ok(()) => 204,
    }
}

fn tokens() -> (Tokens, String, String) {
    let (view, viewer) = TokenEntry::new("phone", Role::View).expect("a token");
    let (publish, publisher) = TokenEntry::new("shed", Role::Publish).expect("a token");
    (Tokens::parse(&format!("{view}\n{publish}\n")).expect("valid"), viewer, publisher)
}

#[test]
fn networks_names_and_origins() {
    let gate = Gate {
        hosts: Hosts::own(vec!["board.example.org".into()]),
        origins: Origins::Own(vec!["https://panel.example".into()]),
        ..Gate::local()
    };
    for (peer, lines, status) in [
        ("192.168.1.9", "Host: 192.168.1.7:8642\r\n", 204),
        ("8.8.8.8", "Host: 192.168.1.7:8642\r\n", 403),
        ("192.168.1.9", "Host: evil.example:8642\r\n", 403),
        ("192.168.1.9", "Host: Board.Example.org\r\n", 204),
        ("192.168.1.9", "Host: 192.168.1.7:8642\r\nOrigin: http://192.168.1.7:8642\r\n", 204),
        ("192.168.1.9", "Host: 192.168.1.7:8642\r\nOrigin: https://panel.example\r\n", 204),
        ("192.168.1.9", "Host: 192.168.1.7:8642\r\nOrigin: http://evil.example\r\n", 403),
        ("192.168.1.9", "Host: 192.168.1.7:8642\r\nOrigin: null\r\n", 403),
        ("192.168.1.9", "Host: 192.168.1.7:8642\r\nOrigin:\r\n", 403),
        ("192.168.1.9", "Host: 10.0.0.7\r\nOrigin: http://10.0.0.7\r\nOrigin: x\r\n", 403),
        // Rebinding: page and board have the same name, which is not the board's.
        ("192.168.1.9", "Host: evil.example\r\nOrigin: http://evil.example\r\n", 403),
    ] {
        let got = verdict(&gate, &Tries::default(), peer, "GET /", lines);
        assert_eq!(got, status, "{peer} {lines}");
    }
    let open =
        verdict(&Gate::open(), &Tries::default(), "8.8.8.8", "GET /", "Host: evil.example\r\n");
    assert_eq!(open, 204);
}

#[test]
fn only_this_machine_may_change_something_without_a_token() {
    let gate = Gate { hosts: Hosts::Any, ..Gate::local() };
    for (peer, lines, status) in [
        ("127.0.0.1", "Host: pi\r\n", 200),
        ("::ffff:127.0.0.1", "Host: pi\r\n", 200),
        ("::1", "Host: [::1]:8642\r\nOrigin: http://[::1]:8642\r\n", 200),
        ("127.0.0.1", "Host: localhost:8642\r\nOrigin: http://localhost:8642\r\n", 200),
        ("127.0.0.1", "Host: 10.0.0.7:80\r\nOrigin: http://10.0.0.7\r\n", 200),
        ("10.0.0.7", "Host: pi\r\n", 204),
        ("127.0.0.1", "Host: evil.example\r\nOrigin: http://evil.example\r\n", 204),
        ("127.0.0.1", "Host: localhost\r\nOrigin: null\r\n", 403),
        ("127.0.0.1", "Host: pi\r\nX-Forwarded-For: 203.0.113.7\r\n", 204),
        ("127.0.0.1", "Host: pi\r\nForwarded: for=203.0.113.7\r\n", 204),
        ("127.0.0.1", "Host: pi\r\nX-Real-IP: 203.0.113.7\r\n", 204),
        ("127.0.0.1", "Host: pi\r\nVia: 1.1 proxy\r\n", 204),
    ] {
        let got = verdict(&gate, &Tries::default(), peer, "POST /api/publish", lines);
        assert_eq!(got, status, "{peer} {lines}");
    }
}

#[test]
fn a_token_gives_its_role() {
    let (tokens, viewer, publisher) = tokens();
    let free = Gate { tokens: tokens.clone(), ..Gate::local() };
    let closed = Gate { tokens, view_needs_token: true, token_in_url: true, ..Gate::local() };
    let bearer = |token: &str| format!("Host: 10.0.0.7\r\nAuthorization: Bearer {token}\r\n");
    for (peer, target, lines, with_free, with_closed) in [
        ("10.0.0.9", "GET /", "Host: 10.0.0.7\r\n".to_owned(), 204, 401),
        ("127.0.0.1", "GET /", "Host: 127.0.0.1\r\n".to_owned(), 200, 200),
        ("10.0.0.9", "GET /login", "Host: 10.0.0.7\r\n".to_owned(), 204, 204),
        ("10.0.0.9", "GET /", bearer(&viewer), 204, 204),
        ("10.0.0.9", "GET /", bearer(&publisher), 200, 200),
        ("10.0.0.9", "GET /", bearer("bc_wrong"), 401, 401),
        ("127.0.0.1", "GET /", "Host: pi\r\nAuthorization: Bearer x\r\n".into(), 403, 403),
        ("10.0.0.9", &format!("GET /?token={viewer}"), "Host: 10.0.0.7\r\n".to_owned(), 204, 204),
        ("10.0.0.9", "GET /?token=wrong", "Host: 10.0.0.7\r\n".to_owned(), 204, 401),
        ("8.8.8.8", "GET /", bearer(&publisher), 403, 403),
    ] {
        let host = lines.contains("Host: pi\r\n");
        for (gate, status) in [(&free, with_free), (&closed, with_closed)] {
            let got = verdict(gate, &Tries::default(), peer, target, &lines);
            assert!(got == status || host && got == 401, "{target} {lines}: {got}");
        }
    }
}

#[test]
fn after_five_wrong_tokens_none_is_looked_at() {
    let (tokens, viewer, _) = tokens();
    let gate = Gate { tokens, ..Gate::local() };
    let tries = Tries::default();
    let try_one = |peer: &str, path: &str, token: &str| {
        let lines = format!("Host: 10.0.0.7\r\nAuthorization: Bearer {token}\r\n");
        verdict(&gate, &tries, peer, &format!("GET {path}"), &lines)
    };
    for path in ["/", "/ws", "/api/latest", "/metrics", "/login2"] {
        assert_eq!(try_one("10.0.0.9", path, "wrong"), 401);
    }
    assert_eq!(try_one("10.0.0.9", "/", "wrong"), 429);
    assert_eq!(try_one("10.0.0.9", "/", &viewer), 429, "the right one, too");
    assert_eq!(verdict(&gate, &tries, "10.0.0.9", "GET /", "Host: 10.0.0.7\r\n"), 204);
    assert_eq!(try_one("10.0.0.8", "/", &viewer), 204);
}

#[test]
fn a_trusted_proxy_speaks_for_its_clients() {
    let (tokens, ..) = tokens();
    let gate = Gate {
        proxies: Proxies(vec!["127.0.0.1".parse().expect("a network")]),
        hosts: Hosts::own(vec!["pi.example".into()]),
        tokens,
        ..Gate::local()
    };
    let said = |client: &str, host: &str| {
        format!("Host: 127.0.0.1:8642\r\nX-Forwarded-For: {client}\r\nX-Forwarded-Host: {host}\r\n")
    };
    for (lines, status) in [
        (said("192.168.1.9", "pi.example"), 204),
        (said("127.0.0.1", "pi.example"), 204),
        (said("203.0.113.7", "pi.example"), 403),
        (said("192.168.1.9", "evil.example"), 403),
        (said("nonsense", "pi.example"), 403),
        (said("192.168.1.9", "pi.example") + "Origin: https://pi.example\r\n", 204),
        (said("192.168.1.9", "pi.example") + "Origin: https://evil.example\r\n", 403),
        ("Host: 127.0.0.1\r\n".to_owned(), 204),
    ] {
        let got = verdict(&gate, &Tries::default(), "127.0.0.1", "GET /", &lines);
        assert_eq!(got, status, "{lines}");
    }
}

#[test]
fn what_a_proxy_put_in_front_is_cut_off() {
    let gate = Gate { base_path: "/pi".into(), ..Gate::open() };
    for (target, path) in [
        ("/pi/", "/"),
        ("/pi/ws?a=1", "/ws"),
        ("/ws", "/ws"),
        ("/pine", "/pine"),
        ("/pi/pi/ws", "/pi/ws"),
        ("/pi//evil", "//evil"),
    ] {
        let mut request = request("10.0.0.9", &format!("GET {target}"), "Host: pi\r\n");
        gate.judge(&mut request, &Tries::default(), Instant::now(), &|_| false).expect("let in");
        assert_eq!(request.path(), path, "{target}");
    }
    let bare = request("10.0.0.9", "GET /pi", "Host: pi\r\n");
    assert_eq!(gate.moved(&bare).map(|response| response.status()), Some(308));
    assert!(Gate::open().moved(&bare).is_none());
}

#[test]
fn a_person_is_led_to_the_form_and_loses_an_old_cookie() {
    let (tokens, ..) = tokens();
    let gate = Gate { tokens, view_needs_token: true, ..Gate::local() };
    let head = |lines: &str| {
        let lines = format!("Host: 10.0.0.7\r\nAccept: text/html,*/*\r\n{lines}");
        let mut request = request("10.0.0.9", "GET /", &lines);
        let refused = gate.judge(&mut request, &Tries::default(), Instant::now(), &|_| false);
        refused.expect_err("no token").response(&request).head(true)
    };
    let first = head("");
    assert!(first.contains("303 ") && first.contains("Location: login\r\n"), "{first}");
    let stale = head("Cookie: boardcast_token=bc_old\r\n");
    assert!(stale.contains("Location: ./\r\n") && stale.contains("Max-Age=0"), "{stale}");
}

#[test]
fn what_is_open_needs_no_token_and_counts_none() {
    let (tokens, ..) = tokens();
    let gate = Gate { tokens, view_needs_token: true, ..Gate::local() };
    let tries = Tries::default();
    let ask = |path: &str, lines: &str| {
        let mut request = request("10.0.0.9", &format!("GET {path}"), lines);
        gate.judge(&mut request, &tries, Instant::now(), &|request| request.path() == "/app.js")
    };
    let stale = "Host: 10.0.0.7\r\nCookie: boardcast_token=bc_old\r\n";
    for path in ["/app.js", "/login"].repeat(9) {
        assert_eq!(ask(path, stale), Ok(()), "{path}");
    }
    assert_eq!(ask("/ws", stale), Err(Refused::StaleCookie));
    // Its name and origin are looked at.
    let foreign = "Host: 10.0.0.7\r\nOrigin: http://evil.example\r\n";
    assert!(matches!(ask("/app.js", foreign), Err(Refused::Forbidden(_))));
    let named = "Host: evil.example\r\n";
    assert!(matches!(ask("/app.js", named), Err(Refused::Forbidden(_))));
}

#[test]
fn the_form_takes_a_token_and_the_browser_keeps_it() {
    let (tokens, viewer, _) = tokens();
    let gate = Gate { tokens, view_needs_token: true, ..Gate::local() };
    let tries = Tries::default();
    let enter = |form: &str| {
        let mut request = request("10.0.0.9", "POST /login", "Host: 10.0.0.7\r\n");
        gate.judge(&mut request, &tries, Instant::now(), &|_| false).expect("open to all");
        Login::enter(&gate, &tries, &request, form.as_bytes())
    };
    let response = enter(&format!("a=b&token={viewer}"));
    let head = response.head(true);
    let cookie = format!("Set-Cookie: boardcast_token={viewer}; ");
    assert!(head.contains(&cookie) && head.contains("HttpOnly; SameSite=Strict\r\n"), "{head}");
    for form in ["token=wrong", "", "token=%00%ff", "token=<b>", "token="] {
        let response = enter(form);
        assert_eq!(response.status(), 401, "{form}");
        let page = String::from_utf8_lossy(response.body()).into_owned();
        assert!(page.contains("not known") && !page.contains("<b>"), "{page}");
    }
    assert_eq!(enter(&format!("token={viewer}")).status(), 429);
}

#[test]
fn a_connection_that_is_older_than_the_gate_is_asked_like_a_new_one() {
    let deny = |network: &str| vec![network.parse().expect("a network")];
    let gate =
        Gate { networks: Networks::local(Vec::new()).except(deny("10.0.0.9")), ..Gate::local() };
    let judged = |peer: &str, lines: &str| {
        let mut request = request(peer, "GET /", lines);
        gate.judge(&mut request, &Tries::default(), Instant::now(), &|_| false)
    };
    assert!(matches!(judged("10.0.0.9", "Host: 10.0.0.7\r\n"), Err(Refused::Forbidden(_))));
    assert_eq!(judged("10.0.0.8", "Host: 10.0.0.7\r\n"), Ok(()));
    // A name that cannot be shown is nobody's.
    let odd = judged("10.0.0.8", "Host: evil\u{e9}.example\r\n");
    assert!(matches!(odd, Err(Refused::Forbidden(_))));
}

#[test]
fn a_refusal_repeats_no_name_that_could_be_more() {
    for host in ["evil.example\r\nX", "<script>", &"x".repeat(300), "a b", "\u{202e}"] {
        assert!(strange_name(host).contains("--host NAME"), "{host}");
    }
    assert!(strange_name("evil.example:80").contains("--host evil.example"));
}

#[test]
fn reasons_fit_a_close_frame() {
    for refused in [
        Refused::Forbidden("x".repeat(500)),
        Refused::Unauthorized(""),
        Refused::StaleCookie,
        Refused::TooManyTries(Duration::from_secs(9)),
    ] {
        let (code, reason) = refused.close();
        assert!(crate::message::close_payload(Some(code), reason).is_ok(), "{reason}");
    }
}
