//! Where a token must never be: in the log, however much is logged, and in
//! what anybody is answered.

use data_encoding::BASE64URL_NOPAD;
use nix::sys::signal::Signal;

use super::*;
use crate::access::Folder;

#[test]
fn a_token_is_in_no_log_and_in_no_answer() {
    let folder = Folder::new("secrets");
    let file = folder.path("tokens");
    let secret = folder.token("phone", "view");
    let wrong = "bc_nearlyTheRightOneButNotQuite";
    let server = Binary::start(&["-vv", "--token-in-url", "--tokens", &file]);
    let mut told = String::new();
    let mut viewer = Client::connect(server.address, &format!("/ws?token={secret}"));
    told += &viewer.next("hello").to_string();
    // Four that are wrong: beyond five none is looked at.
    for (token, times) in [(secret.as_str(), 2), (wrong, 1)] {
        let entry = BASE64URL_NOPAD.encode(token.as_bytes());
        for request in [
            get_with("/api/latest", &format!("Authorization: Bearer {token}\r\n")),
            get_with("/nothing", &format!("Cookie: boardcast_token={token}\r\n")),
            get_with(&format!("/metrics?token={token}"), ""),
            handshake_with(&format!(
                "Connection: close\r\nSec-WebSocket-Protocol: boardcast.auth.{entry}\r\n"
            )),
        ]
        .iter()
        .cycle()
        .take(4 * times)
        {
            let mut stream = tcp(server.address);
            send(&mut stream, request);
            let answer = Answer::read(&mut BufReader::new(stream));
            told += &answer.head;
            told += &String::from_utf8_lossy(&answer.body);
        }
    }
    let form = format!("token={wrong}");
    let login = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    told += ask(server.address, &login).text();
    viewer.say(&format!(r#"{{"type":"ping","id":1,"token":"{secret}"}}"#));
    told += &viewer.next("pong").to_string();
    for path in ["/metrics", "/api/channels", "/api/latest", "/healthz", "/login"] {
        told += get(server.address, path).text();
    }
    server.signal(Signal::SIGHUP);
    wait_for("the reload", || server.log().contains("settings").then_some(()));
    server.signal(Signal::SIGTERM);
    let _ = viewer.close_code();
    drop(viewer);
    let (code, log) = server.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("showed a wrong token"), "{log}");
    for token in [secret.as_str(), wrong] {
        let entry = BASE64URL_NOPAD.encode(token.as_bytes());
        for part in [token, &entry, &token[3..]] {
            assert!(!log.contains(part), "{log}");
            assert!(!told.contains(part), "{told}");
        }
    }
    let kept = std::fs::read_to_string(&file).expect("read");
    assert!(!kept.contains(&secret[3..]), "{kept}");
}

#[test]
fn a_token_s_own_line_in_a_bad_file_is_not_repeated() {
    let folder = Folder::new("leak");
    let file = folder.write("tokens", "phone view bc_aSecretInTheWrongPlace\n");
    let output = command(env!("CARGO_BIN_EXE_boardcast"))
        .args(["--listen", "127.0.0.1:0", "--tokens", &file])
        .output()
        .expect("started");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("line 1") && !told.contains("aSecret"), "{told}");
}
