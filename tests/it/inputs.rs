//! Readings that are pushed in: the real binary, and other people's tools.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use boardcast::{net::Limits, telemetry::HubSettings};
use nix::{fcntl::OFlag, sys::signal::Signal};
use serde_json::{Value, json};

use crate::fixture::*;

const BINARY: &str = env!("CARGO_BIN_EXE_boardcast");

/// A folder for a socket; its path is short, as that of a socket must be.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bc-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("created");
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn with_socket(folder: &Folder) -> Binary {
    Binary::start(&["--socket", folder.socket().to_str().expect("UTF-8")])
}

fn with_stdin(stdin: impl Into<Stdio>) -> Binary {
    let mut command = command(BINARY);
    command.args(["serve", "--stdin", "--listen", "127.0.0.1:0", "--socket", "none"]);
    Binary::run(command.stdin(stdin))
}

/// Waits for a channel's latest value.
fn latest(server: &Binary, channel: &str) -> Value {
    wait_for(channel, || {
        let latest: Value =
            serde_json::from_str(get(server.address, "/api/latest").text()).expect("JSON");
        latest["values"].get(channel).cloned()
    })
}

/// Waits until a channel has this value.
fn await_value(server: &Binary, channel: &str, value: &Value) {
    wait_for(&format!("{channel} = {value}"), || (latest(server, channel) == *value).then_some(()));
}

fn pushed(server: &Binary, what: &str, source: &str) -> u64 {
    server.metric(&format!("boardcast_pushed_{what}_total{{source=\"{source}\"}}"))
}

/// What is answered to lines on the stream socket, up to the end.
fn say_and_hear(socket: &Path, lines: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(lines).expect("sent");
    stream.shutdown(Shutdown::Write).expect("ended");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("heard");
    answer
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_a_shell_loop_prints_is_on_the_page_within_a_second() {
    let script = "i=0; while sleep 0.1; do i=$((i+1)); echo \"room/temp=$i\"; done";
    let sensor = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn();
    let mut sensor = Killed(sensor.expect("a shell"));
    let server = with_stdin(sensor.0.stdout.take().expect("piped"));
    let mut viewer = Client::connect(server.address, "/ws?channels=room/temp");
    let mut last = 0.0;
    for _ in 0..5 {
        let data = wait_for("a reading", || {
            let data = viewer.next("data");
            data["values"]["room/temp"].is_number().then_some(data)
        });
        let value = data["values"]["room/temp"].as_f64().expect("a number");
        assert!(value > last, "{data}");
        last = value;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let age = now - data["t"].as_f64().expect("a time");
        assert!(age < 1.0 || emulated(), "{age} s old");
    }
}

#[test]
fn when_standard_input_ends_its_channels_are_gone_and_the_server_goes_on() {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    let mut writer = std::fs::File::from(writer);
    let server = with_stdin(reader);
    writer.write_all(b"door=true\nnonsense\nlast=7").expect("written");
    await_value(&server, "door", &json!(true));
    drop(writer);
    await_value(&server, "last", &json!(7));
    wait_for("the end", || {
        let channels: Value =
            serde_json::from_str(get(server.address, "/api/channels").text()).expect("JSON");
        let list = channels["channels"].as_array().expect("a list").iter();
        let mut own = list.filter(|channel| channel["source"] == "stdin").peekable();
        assert!(own.peek().is_some());
        own.all(|channel| channel["status"] == "gone").then_some(())
    });
    assert_eq!((pushed(&server, "lines", "stdin"), pushed(&server, "bad_lines", "stdin")), (3, 1));
    server.signal(Signal::SIGTERM);
    let (code, log) = server.wait();
    assert_eq!(code, Some(0));
    assert_eq!(log.matches("stdin: it has ended").count(), 1, "{log}");
    assert_eq!(log.matches("stdin: a line is refused").count(), 1, "{log}");
}

#[test]
fn the_socket_takes_streams_and_datagrams_and_answers_what_it_refuses() {
    let folder = Folder::new("unix");
    let server = with_socket(&folder);
    let socket = folder.socket();
    assert_eq!(say_and_hear(&socket, b"room/temp 21.5\n# nothing\n\ndoor=true"), "");
    await_value(&server, "room/temp", &json!(21.5));
    await_value(&server, "door", &json!(true));
    let answer = say_and_hear(&socket, b"a=1\nb=x\nc=3\nd");
    let answers: Vec<_> = answer.lines().collect();
    assert_eq!(answers.len(), 2, "{answer}");
    assert!(answers[0].starts_with("error: line 2: \"x\" is neither"), "{answer}");
    assert!(answers[1].starts_with("error: line 4: \"d\" has no value"), "{answer}");
    await_value(&server, "c", &json!(3));

    let named = UnixDatagram::bind(folder.0.join("me")).expect("bound");
    named.set_read_timeout(Some(PATIENCE)).expect("set");
    let there = folder.0.join("s.dgram");
    named.send_to(b"gram=1\ngram/bad=x", &there).expect("sent");
    let mut answer = [0; 300];
    let length = named.recv(&mut answer).expect("answered");
    assert!(answer[..length].starts_with(b"error: line 2: "));
    UnixDatagram::unbound().expect("a socket").send_to(b"gram=2", &there).expect("sent");
    await_value(&server, "gram", &json!(2));
    assert_eq!(pushed(&server, "bad_lines", "socket"), 3);
}

#[test]
fn a_line_without_end_is_told_once_and_holds_nothing_else_up() {
    let folder = Folder::new("endless");
    let server = with_socket(&folder);
    let mut endless = UnixStream::connect(folder.socket()).expect("connected");
    endless.set_read_timeout(Some(PATIENCE)).expect("set");
    endless.write_all(b"before=1\n").expect("sent");
    let piece = vec![b'x'; 1 << 20];
    for round in 0..32 {
        endless.write_all(&piece).expect("taken");
        if round == 16 {
            assert_eq!(say_and_hear(&folder.socket(), b"other=1\n"), "");
        }
    }
    endless.write_all(b"\nafter=2\n").expect("sent");
    let mut answer = String::new();
    BufReader::new(&endless).read_line(&mut answer).expect("answered");
    assert!(answer.starts_with("error: line 2: a line is longer than 16384 bytes"), "{answer}");
    for (channel, value) in [("before", 1), ("other", 1), ("after", 2)] {
        await_value(&server, channel, &json!(value));
    }
    assert_eq!(pushed(&server, "bad_lines", "socket"), 1);
    let memory = latest(&server, "boardcast/memory").as_f64().expect("bytes");
    assert!(memory < 64e6 || emulated(), "{memory} bytes");
    // With a client that stays, and a line that has no end yet.
    endless.write_all(b"half=").expect("sent");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn clients_of_the_socket_are_bounded_and_one_too_many_is_told() {
    let folder = Folder::new("many");
    let server = with_socket(&folder);
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let mut client = UnixStream::connect(folder.socket()).expect("connected");
            client.write_all(format!("c{number}=1\n").as_bytes()).expect("sent");
            client
        })
        .collect();
    await_value(&server, "c15", &json!(1));
    let mut answer = String::new();
    let more = UnixStream::connect(folder.socket()).expect("connected");
    more.set_read_timeout(Some(PATIENCE)).expect("set");
    (&more).read_to_string(&mut answer).expect("the end");
    assert!(answer.starts_with("error: 16 clients"), "{answer}");
    let page = get(server.address, "/metrics");
    let counted = r#"boardcast_pushed_refused_clients_total{source="socket"} 1"#;
    assert!(page.text().contains(counted), "{}", page.text());
    drop(clients);
    wait_for("a free place", || {
        let answer = boardcast_put(&["--socket", folder.socket().to_str()?, "d=1"], "");
        answer.status.success().then_some(())
    });
}

#[test]
fn the_socket_goes_with_the_server_and_that_of_a_dead_one_is_replaced() {
    let folder = Folder::new("stale");
    let mut server = with_socket(&folder);
    let path = folder.socket().display().to_string();
    let second =
        command(BINARY).args(["--listen", "127.0.0.1:0", "--socket", &path]).output().expect("run");
    let why = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{why}");
    assert!(why.contains(&path) && why.contains("in use"), "{why}");
    server.child.kill().expect("killed");
    server.child.wait().expect("waited");
    assert!(folder.socket().exists());
    let server = with_socket(&folder);
    assert_eq!(say_and_hear(&folder.socket(), b"a=1\n"), "");
    await_value(&server, "a", &json!(1));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().0, Some(0));
    assert_eq!(std::fs::read_dir(&folder.0).expect("read").count(), 0, "both names are gone");
}

#[test]
fn the_user_s_own_folder_is_where_the_socket_is_without_a_service() {
    if Path::new("/run/boardcast").exists() {
        return; // A service of this machine comes first, as it should.
    }
    let folder = Folder::new("xdg");
    let mut command = command(BINARY);
    command.args(["--listen", "127.0.0.1:0"]).env("XDG_RUNTIME_DIR", &folder.0);
    let server = Binary::run(&mut command);
    assert!(folder.0.join("boardcast/boardcast.sock").exists());
    let mut put = self::command(BINARY);
    let put = put.args(["put", "a=1"]).env("XDG_RUNTIME_DIR", &folder.0).output().expect("run");
    assert!(put.status.success(), "{put:?}");
    await_value(&server, "a", &json!(1));
}

/// The place of the UDP input, as the greeting has it.
pub(crate) fn udp_of(server: &Binary) -> String {
    let place = server.greeting.split(" udp ").nth(1).and_then(|rest| rest.lines().next());
    place.expect(&server.greeting).to_owned()
}

#[test]
fn datagrams_of_udp_are_taken_on_this_machine_when_asked_for() {
    let server = Binary::start(&["--socket", "none", "--udp", "0"]);
    let place = udp_of(&server);
    assert!(place.starts_with("127.0.0.1:"), "{place}");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.send_to(b"statsd.gauge:5|g\nstatsd.gauge:+2|g\n", &place).expect("sent");
    await_value(&server, "statsd.gauge", &json!(7));
    socket.send_to(b"weather,site=roof temp=21.5,dew=7i\nnonsense", &place).expect("sent");
    await_value(&server, "weather/roof/dew", &json!(7));
    assert_eq!(pushed(&server, "bad_lines", "udp"), 1);
}

/// `boardcast put` with these arguments and this input.
fn boardcast_put(arguments: &[&str], input: &str) -> Output {
    let mut command = command(BINARY);
    command.arg("put").args(arguments).env_remove("XDG_RUNTIME_DIR");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut stdin: ChildStdin = child.stdin.take().expect("piped");
    // One that refuses at once may not read it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("ended")
}

#[test]
fn put_pushes_and_says_what_is_refused() {
    let folder = Folder::new("put");
    let server = with_socket(&folder);
    let (path, url) =
        (folder.socket().display().to_string(), format!("http://{}/", server.address));
    for (number, place) in [["--socket", &path], ["--url", &url]].iter().enumerate() {
        let name = format!("put{number}");
        let put = |more: &[&str], input: &str| {
            let arguments = [&place[..], more].concat();
            let output = boardcast_put(&arguments, input);
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.stdout, b"", "{why}");
            (output.status.code(), why)
        };
        let one = format!("{name}/a=1.5");
        assert_eq!(
            put(&[&one, "b.c=-2"], ""),
            (Some(if number == 0 { 0 } else { 1 }), {
                let taken =
                    "boardcast: channel b.c belongs to source socket; choose another name\n";
                if number == 0 { String::new() } else { taken.into() }
            })
        );
        await_value(&server, &format!("{name}/a"), &json!(1.5));
        assert_eq!(put(&[&format!("{name}/t"), "-5"], ""), (Some(0), String::new()));
        await_value(&server, &format!("{name}/t"), &json!(-5));
        let (code, why) = put(&["door=open"], "");
        assert_eq!(code, Some(1));
        assert!(why.starts_with("boardcast: \"open\" is neither a number"), "{why}");
        let lines: String = (1..=5000).map(|n| format!("{name}/n={n}\n")).collect();
        assert_eq!(put(&["--stdin"], &lines), (Some(0), String::new()));
        await_value(&server, &format!("{name}/n"), &json!(5000));
        let (code, why) = put(&["--stdin"], &format!("{name}/x=1\n{name}/y=\n{name}/z=3"));
        assert!(code == Some(1) && why.contains("a value is missing"), "{why}");
        await_value(&server, &format!("{name}/z"), &json!(3));
    }
}

#[test]
fn put_says_so_when_nobody_is_there() {
    let folder = Folder::new("nobody");
    let path = folder.socket().display().to_string();
    for place in [["--socket", path.as_str()], ["--url", "127.0.0.1:1"]] {
        let output = boardcast_put(&[&place[..], &["a=1"]].concat(), "");
        let why = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{why}");
        assert!(why.contains(place[1]) && why.lines().count() == 1, "{why}");
    }
}

/// One POST to `/api/publish`; its status, and its body as JSON where it is.
fn post(address: std::net::SocketAddr, headers: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let request = format!(
        "POST /api/publish HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    let answer = ask(address, &request);
    let json = serde_json::from_str(answer.text());
    (answer.status, json.unwrap_or_else(|_| answer.text().into()))
}

#[test]
fn a_request_publishes_its_lines_and_is_told_what_was_refused() {
    let board = Board::start();
    let address = board.engine.address;
    let good = post(address, "", "a=1\nb=true\n");
    assert_eq!(good, (200, json!({"lines":2,"values":2,"bad":0})));
    let (status, bad) = post(address, "", "c=1\nd=x\ne=2");
    assert_eq!(
        (status, &bad["values"], &bad["bad"], &bad["line"]),
        (400, &2.into(), &1.into(), &2.into())
    );
    assert!(bad["error"].as_str().expect("a sentence").contains("in quotes"));
    let json =
        post(address, "Content-Type: application/json\r\n", "{\n\"room\":{\"temp\":21.5}\n}");
    assert_eq!(json.0, 200);
    let (_, taken) = post(address, "", "count=1");
    assert!(taken["error"].as_str().expect("a sentence").contains("belongs to source test"));
    let chunked = format!(
        "POST /api/publish HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nf=7\n\r\n3\r\ng=8\r\n0\r\n\r\n"
    );
    assert_eq!(ask(address, &chunked).status, 200);
    let view = board.hub.view();
    let names: Vec<_> = view.channels().iter().map(|state| state.channel.name.as_str()).collect();
    assert_eq!(names, ["count", "a", "b", "c", "e", "room/temp", "f", "g"]);
}

#[test]
fn who_may_not_publish_is_told_before_the_body_is_read() {
    let board = Board::start();
    let address = board.engine.address;
    for (headers, status) in [
        (format!("Origin: http://{address}\r\n"), 200),
        ("Origin: http://evil.example\r\n".into(), 403),
        ("X-Forwarded-For: 203.0.113.7\r\n".into(), 403),
        ("Content-Length: 3\r\n".into(), 400),
    ] {
        assert_eq!(post(address, &headers, "a=1").0, status, "{headers}");
    }
    let get = get(address, "/api/publish");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    assert_eq!(post(address, "", &"a=1\n".repeat(20_000)).0, 413);
}

#[test]
fn a_body_that_drips_is_answered_with_408_and_who_asks_may_go_on() {
    let limits = Limits { body_time: Duration::from_millis(200), ..Limits::default() };
    let board = Board::with(HubSettings::default(), limits);
    let mut stream = tcp(board.engine.address);
    let head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    send(&mut stream, head);
    let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
    assert_eq!(Answer::read_head(&mut reader).status, 100);
    send(&mut stream, "a=1");
    assert_eq!(Answer::read(&mut reader).status, 200);
    let mut stream = tcp(board.engine.address);
    send(&mut stream, head.replace("Expect: 100-continue\r\n", "") + "a=");
    let start = Instant::now();
    assert_eq!(Answer::read(&mut BufReader::new(stream)).status, 408);
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_websocket_client_on_the_board_may_publish() {
    let board = Board::start();
    let address = board.engine.address;
    let mut client = Client::connect(address, "/ws?channels=room/%23");
    assert_eq!(client.next("hello")["may_publish"], true);
    client.say(r#"{"type":"publish","id":7,"values":{"room":{"temp":21.5},"room/door":true}}"#);
    let (mut published, mut data) = (false, false);
    while !(published && data) {
        let message = client.json();
        published |= message == json!({"type":"published","id":7});
        data |= message["values"] == json!({"room/temp":21.5,"room/door":true});
    }
    for (message, code) in [
        (r#"{"type":"publish","id":8,"values":{"count":1}}"#, "refused"),
        (r#"{"type":"publish","id":8,"values":{"a":"x","b":[1]}}"#, "refused"),
        (r#"{"type":"publish","id":8}"#, "refused"),
    ] {
        client.say(message);
        let error = client.next("error");
        assert_eq!((&error["code"], &error["id"]), (&code.into(), &8.into()), "{error}");
    }
    // More than a viewer may send at once, and a longer message.
    for number in 0..200 {
        client
            .say(&format!(r#"{{"type":"publish","id":{number},"values":{{"room/n":{number}}}}}"#));
        while client.json() != json!({"type":"published","id":number}) {}
    }
    let long: Vec<_> = (0..40).map(|n| format!("\"room/t{n}\":\"{}\"", "x".repeat(1000))).collect();
    client.say(&format!(r#"{{"type":"publish","id":"long","values":{{{}}}}}"#, long.join(",")));
    assert_eq!(client.next("published")["id"], "long");
}

#[test]
fn a_websocket_client_from_elsewhere_may_not_publish() {
    let board = Board::start();
    let proxied = [("x-forwarded-for", "203.0.113.7")];
    let mut client = Client::try_connect(board.engine.address, "/ws", &proxied).expect("served");
    assert_eq!(client.next("hello")["may_publish"], false);
    client.say(r#"{"type":"publish","id":7,"values":{"a":1}}"#);
    let error = client.next("error");
    assert_eq!((&error["code"], &error["id"]), (&"not_allowed".into(), &7.into()));
    assert_eq!(board.hub.view().channels().len(), 1);
}

#[test]
fn fifty_thousand_lines_into_a_hundred_channels_all_count() {
    let folder = Folder::new("flood");
    let server = with_socket(&folder);
    let lines: String = (0..50_000).map(|n| format!("flood/c{}={n}\n", n % 100)).collect();
    assert_eq!(say_and_hear(&folder.socket(), lines.as_bytes()), "");
    await_value(&server, "flood/c99", &json!(49_999));
    let latest: Value =
        serde_json::from_str(get(server.address, "/api/latest").text()).expect("JSON");
    for channel in 0..100 {
        assert_eq!(latest["values"][format!("flood/c{channel}")], 49_900 + channel);
    }
    let counted = ["lines", "bad_lines", "values"].map(|what| pushed(&server, what, "socket"));
    assert_eq!(counted, [50_000, 0, 50_000]);
}

/// Runs a tool that is installed; `None` when it is not.
fn tool(name: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("{name} is not installed: not tried");
            return None;
        }
        child => child.expect("started"),
    };
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    Some(child.wait_with_output().expect("ended"))
}

#[test]
fn other_people_s_tools_push_readings() {
    let folder = Folder::new("tools");
    let socket = folder.socket().display().to_string();
    let server = Binary::start(&["--socket", &socket, "--udp", "0"]);
    let udp = udp_of(&server);
    let url = format!("http://{}/api/publish", server.address);
    if let Some(output) =
        tool("socat", &["-t10", "-", &format!("UNIX-CONNECT:{socket}")], "socat=1\nx\n")
    {
        let heard = String::from_utf8_lossy(&output.stdout);
        assert!(heard.starts_with("error: line 2: "), "{output:?}");
        await_value(&server, "socat", &json!(1));
        tool("socat", &["-", &format!("UDP-SENDTO:{udp}")], "socat=3").expect("installed");
        tool("socat", &["-", &format!("UDP-SENDTO:{udp}")], "socat/udp 2").expect("installed");
        await_value(&server, "socat/udp", &json!(2));
        tool("socat", &["-", &format!("UNIX-SENDTO:{socket}.dgram")], "socat=4")
            .expect("installed");
        await_value(&server, "socat", &json!(4));
    }
    if let Some(output) = tool("nc", &["-N", "-U", &socket], "nc 1\n") {
        assert!(output.stdout.is_empty(), "{output:?}");
        await_value(&server, "nc", &json!(1));
    }
    if tool("curl", &["-sf", "--data-binary", "@-", &url], "curl/a=1\ncurl/b=2").is_some() {
        await_value(&server, "curl/b", &json!(2));
        let body = r#"{"curl":{"c":3}}"#;
        tool("curl", &["-sf", "--json", body, &url], "").expect("installed");
        await_value(&server, "curl/c", &json!(3));
        tool("curl", &["-sf", "-T", "-", "-X", "POST", &url], "curl/d=4").expect("installed");
        await_value(&server, "curl/d", &json!(4));
    }
    let script = format!(
        "import socket, json, urllib.request\n\
         s = socket.socket(socket.AF_UNIX); s.connect('{socket}')\n\
         s.sendall(b'python/unix 1\\n'); s.shutdown(socket.SHUT_WR); assert s.recv(99) == b''\n\
         r = urllib.request.urlopen('{url}', json.dumps({{'python/http': 2}}).encode())\n\
         assert json.load(r)['values'] == 1\n"
    );
    if let Some(output) = tool("python3", &["-c", &script], "") {
        assert!(output.status.success(), "{output:?}");
        await_value(&server, "python/unix", &json!(1));
        await_value(&server, "python/http", &json!(2));
    }
}
