//! Who is let in, as people set it: `boardcast token`, its file, the options,
//! and what then works from elsewhere.
//!
//! Everything here comes from this machine, which may do all. With the option
//! [`ELSEWHERE`] it is taken for what a proxy passes on, which may not.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Output, Stdio},
};

use data_encoding::BASE64URL_NOPAD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::fixture::*;

const ELSEWHERE: [&str; 2] = ["--trusted-proxy", "127.0.0.1"];

/// A folder that goes when the test is over.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bc-access-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file; its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    /// Makes a token, in the file `tokens`; its secret.
    pub(crate) fn token(&self, name: &str, role: &str) -> String {
        let output = run(&["token", "new", name, "--role", role, "--tokens", &self.path("tokens")]);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout).trim().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(arguments: &[&str]) -> Output {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(arguments).stdin(Stdio::null()).env_remove("BOARDCAST_TOKEN");
    command.output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// One that does not work: one line, and this exit code.
fn fails(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    // Beside what is logged: a test may run as root, of which it warns.
    let lines = text(&output.stderr).lines().filter(|line| !line.starts_with('['));
    let told: Vec<_> = lines.collect();
    assert_eq!((output.status.code(), told.len()), (Some(code), 1), "{told:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    told.concat()
}

/// A board to which nobody is the board itself.
fn board(folder: &Folder, options: &[&str]) -> Binary {
    let tokens = folder.path("tokens");
    Binary::start(&[&ELSEWHERE, &["--tokens", &tokens][..], options].concat())
}

fn with_token(address: SocketAddr, path: &str, token: &str) -> u16 {
    let lines = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
    ask(address, &format!("GET {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).status
}

fn publish(address: SocketAddr, lines: &str, body: &str) -> u16 {
    let length = body.len();
    let head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\n";
    ask(address, &format!("{head}{lines}Content-Length: {length}\r\n\r\n{body}")).status
}

fn latest(address: SocketAddr, channel: &str) -> Value {
    let answer = get(address, "/api/latest");
    let latest: Value = serde_json::from_str(answer.text()).expect("JSON");
    latest["values"][channel].clone()
}

#[test]
fn a_token_is_made_listed_and_taken_back() {
    let folder = Folder::new("list");
    let file = folder.path("tokens");
    let secret = folder.token("phone", "view");
    assert!(secret.starts_with("bc_"), "{secret}");
    folder.token("shed", "publish");
    let list = |file: &str| text(&run(&["token", "list", "--tokens", file]).stdout).to_owned();
    assert_eq!(list(&file), "phone\tview\nshed\tpublish\n");
    let kept = fs::read_to_string(&file).expect("read");
    assert!(!kept.contains(&secret[3..]), "{kept}");
    let twice = fails(&["token", "new", "phone", "--tokens", &file], 1);
    assert!(twice.contains("token revoke phone"), "{twice}");
    assert!(run(&["token", "revoke", "phone", "--tokens", &file]).status.success());
    assert_eq!(list(&file), "shed\tpublish\n");
    let gone = fails(&["token", "revoke", "phone", "--tokens", &file], 1);
    assert!(gone.contains("no token phone"), "{gone}");
    fails(&["token", "new", "a b", "--tokens", &file], 1);
    fails(&["token", "list", "--tokens", &folder.path("none")], 1);
}

#[test]
fn what_a_person_wrote_into_the_file_stays() {
    let folder = Folder::new("notes");
    let file = folder.write("tokens", "# mine");
    folder.token("phone", "view");
    folder.token("shed", "publish");
    run(&["token", "revoke", "phone", "--tokens", &file]);
    let kept = fs::read_to_string(&file).expect("read");
    assert!(kept.starts_with("# mine\nshed publish sha256:"), "{kept}");
    // The last one goes, and another comes.
    run(&["token", "revoke", "shed", "--tokens", &file]);
    assert_eq!(fs::read_to_string(&file).expect("read"), "# mine\n");
    folder.token("car", "view");
}

#[test]
fn a_file_without_a_token_is_no_file_of_tokens() {
    let folder = Folder::new("empty");
    let file = folder.write("tokens", "# none yet\n");
    let serve = ["--listen", "127.0.0.1:0", "--tokens", &file];
    let told = fails(&serve, 1);
    assert!(told.contains(&file) && told.contains("boardcast token new"), "{told}");
    let told = fails(&["check", "--tokens", &file], 1);
    assert!(told.contains(&file) && told.contains("no token"), "{told}");
    folder.write("tokens", "phone view hunter2\n");
    let told = fails(&["check", "--tokens", &file], 1);
    assert!(told.contains("line 1") && !told.contains("hunter2"), "{told}");
    let missing = folder.path("missing");
    assert!(fails(&["--listen", "127.0.0.1:0", "--tokens", &missing], 1).contains(&missing));
}

#[test]
fn a_token_is_not_asked_for_where_there_is_none() {
    let told = fails(&["--listen", "127.0.0.1:0", "--view-needs-token"], 1);
    assert!(told.contains("--tokens") && told.contains("boardcast token new"), "{told}");
}

#[test]
fn sighup_takes_a_token_back_and_a_broken_file_changes_nothing() {
    let folder = Folder::new("sighup");
    let (phone, shed) = (folder.token("phone", "view"), folder.token("shed", "view"));
    let board = board(&folder, &["--view-needs-token"]);
    let is_known = |token: &str| match with_token(board.address, "/healthz", token) {
        401 => false,
        200 => true,
        other => panic!("{other} is neither"),
    };
    assert!(is_known(&phone) && is_known(&shed));
    assert!(
        run(&["token", "revoke", "phone", "--tokens", &folder.path("tokens")]).status.success()
    );
    assert!(is_known(&phone), "nobody has said so yet");
    board.signal(Signal::SIGHUP);
    wait_for("the news", || board.log().contains("settings").then_some(()));
    wait_for("the new gate", || (!is_known(&phone)).then_some(()));
    assert!(is_known(&shed));
    folder.write("tokens", "nonsense\n");
    board.signal(Signal::SIGHUP);
    wait_for("the complaint", || board.log().contains("stay as they were").then_some(()));
    assert!(is_known(&shed));
}

#[test]
fn publishing_from_elsewhere_needs_a_token_for_that() {
    let folder = Folder::new("publish");
    let (phone, shed) = (folder.token("phone", "view"), folder.token("shed", "publish"));
    let board = board(&folder, &[]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    assert_eq!(publish(board.address, "", "a=1"), 403);
    assert_eq!(publish(board.address, &bearer(&phone), "a=1"), 403);
    assert_eq!(publish(board.address, &bearer("bc_x"), "a=1"), 401);
    assert_eq!(latest(board.address, "a"), Value::Null);
    assert_eq!(publish(board.address, &bearer(&shed), "a=1"), 200);
    assert_eq!(latest(board.address, "a"), 1);
    for (token, may) in [(&phone, false), (&shed, true)] {
        let bearer = format!("Bearer {token}");
        let entry = BASE64URL_NOPAD.encode(token.as_bytes());
        let protocols = format!("boardcast.v1.json, boardcast.auth.{entry}");
        for shown in [("authorization", bearer), ("sec-websocket-protocol", protocols)] {
            let lines = [(shown.0, shown.1.as_str())];
            let mut client =
                Client::try_connect(board.address, "/ws?channels=none", &lines).expect("let in");
            assert_eq!(client.next("hello")["may_publish"], may, "{}", shown.0);
            client.say(r#"{"type":"publish","id":7,"values":{"b":2}}"#);
            let answer = if may { client.next("published") } else { client.next("error") };
            assert_eq!(answer["id"], 7, "{answer}");
        }
    }
}

#[test]
fn the_form_gives_a_cookie_that_opens_the_page_and_the_stream() {
    let folder = Folder::new("form");
    let token = folder.token("phone", "view");
    let board = board(&folder, &["--view-needs-token"]);
    let page = |lines: &str| {
        let lines = format!("Host: localhost\r\nAccept: text/html\r\n{lines}");
        ask(board.address, &format!("GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"))
    };
    let first = page("");
    assert_eq!((first.status, first.header("location")), (303, Some("login")));
    let form = get(board.address, "/login");
    assert!(form.text().contains("<form method=post"), "{}", form.text());
    let body = format!("token={token}");
    let login = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let entered = ask(board.address, &login);
    assert_eq!((entered.status, entered.header("location")), (303, Some("./")));
    let cookie = entered.header("set-cookie").and_then(|cookie| cookie.split(';').next());
    let cookie = cookie.expect("a cookie");
    assert_eq!(page(&format!("Cookie: {cookie}\r\n")).status, 200);
    let origin = format!("http://{}", board.address);
    let lines = [("cookie", cookie), ("origin", origin.as_str())];
    let mut stream = Client::try_connect(board.address, "/ws", &lines).expect("let in");
    stream.next("hello");
    let lines = [("origin", origin.as_str())];
    let mut without = Client::try_connect(board.address, "/ws", &lines).expect("upgraded");
    assert_eq!(without.close_code(), Some(4401));
}

#[test]
fn our_own_clients_show_a_token_from_a_file_or_the_environment() {
    let folder = Folder::new("clients");
    let secret = folder.token("shed", "publish");
    let file = folder.write("secret", &format!("{secret}\n"));
    let board = board(&folder, &["--view-needs-token"]);
    let address = board.address.to_string();
    let told = fails(&["put", "--url", &address, "a=1"], 1);
    assert!(told.contains("token"), "{told}");
    let put = run(&["put", "--url", &address, "--token-file", &file, "a=1"]);
    assert!(put.status.success(), "{put:?}");
    let told = fails(&["once", &address, "a/#"], 1);
    assert!(told.contains("token"), "{told}");
    let once = run(&["once", &address, "a/#", "--json", "--token-file", &file]);
    assert!(text(&once.stdout).contains(r#""a":1"#), "{once:?}");
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(["once", &address, "a/#", "--json"]).env("BOARDCAST_TOKEN", &secret);
    let once = command.output().expect("it runs");
    assert!(text(&once.stdout).contains(r#""a":1"#), "{once:?}");
    let empty = folder.write("empty", "\n");
    assert!(fails(&["put", "--url", &address, "--token-file", &empty, "a=1"], 2).contains("token"));
}

#[test]
fn a_page_of_an_allowed_origin_is_told_what_it_may_ask() {
    let board = Binary::start(&["--allow-origin", "https://panel.example"]);
    let preflight = |origin: &str| {
        let head =
            format!("OPTIONS /api/latest HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n");
        let lines = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n";
        ask(board.address, &format!("{head}{lines}Connection: close\r\n\r\n"))
    };
    let allowed = preflight("https://panel.example");
    assert_eq!(allowed.status, 204);
    let header = |name| allowed.header(name).unwrap_or_default();
    assert_eq!(header("access-control-allow-origin"), "https://panel.example");
    assert!(header("access-control-allow-headers").contains("Authorization"));
    assert!(header("access-control-allow-methods").contains("GET"));
    assert_eq!(preflight("https://other.example").status, 403);
}

#[test]
fn deny_goes_before_allow_and_a_name_is_answered_to_when_it_is_set() {
    let named = ["--host", "board.example.org", "--allow", "8.8.8.0/24", "--deny", "8.8.8.8"];
    let board = Binary::start(&[&ELSEWHERE[..], &named].concat());
    let status = |client: &str, host: &str| {
        let lines = format!("Host: {host}\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n");
        ask(board.address, &format!("GET /healthz HTTP/1.1\r\n{lines}\r\n")).status
    };
    assert_eq!(status("8.8.8.9", "board.example.org"), 200);
    assert_eq!(status("8.8.8.8", "board.example.org"), 403);
    assert_eq!(status("8.8.4.4", "board.example.org"), 403);
    assert_eq!(status("10.0.0.9", "BOARD.example.org:8642"), 200);
    assert_eq!(status("10.0.0.9", "other.example.org"), 403);
    let any = Binary::start(&["--host", "*"]);
    let request = "GET /healthz HTTP/1.1\r\nHost: other.example.org\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(any.address, request).status, 200);
}

#[test]
fn the_service_manager_passes_the_file_as_a_credential() {
    let folder = Folder::new("credential");
    let secret = folder.token("phone", "view");
    let credentials = folder.path("credentials");
    fs::create_dir(&credentials).expect("made");
    fs::rename(folder.path("tokens"), format!("{credentials}/boardcast.tokens")).expect("moved");
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(["--listen", "127.0.0.1:0", "--view-needs-token"]).args(ELSEWHERE);
    let board = Binary::run(command.env("CREDENTIALS_DIRECTORY", &credentials));
    assert_eq!(get(board.address, "/healthz").status, 401);
    assert_eq!(with_token(board.address, "/healthz", &secret), 200);
}

#[test]
fn a_board_below_a_path_is_where_the_proxy_says() {
    let board = Binary::start(&[&ELSEWHERE[..], &["--base-path", "/pi"]].concat());
    assert_eq!(get(board.address, "/pi/healthz").status, 200);
    let bare = get(board.address, "/pi");
    assert_eq!((bare.status, bare.header("location")), (308, Some("/pi/")));
    let mut client = Client::connect(board.address, "/pi/ws");
    client.next("hello");
    assert_eq!(json!(get(board.address, "/pine/healthz").status), 404);
}
