//! What is in a message. Whoever says nonsense is told so, and may go on:
//! each of these connections answers a `ping` afterwards.

use super::*;

/// What a program on the board, which may publish, is answered.
fn told(sent: impl AsRef<str>, code: &str) {
    let mut siege = Siege::start();
    let mut client = Client::connect(siege.address(), "/ws?channels=none");
    client.next("subscribed");
    client.say(sent.as_ref());
    let answer = loop {
        let message = client.json();
        if !matches!(message["type"].as_str(), Some("data" | "heartbeat" | "channels")) {
            break message;
        }
    };
    let said = answer["code"].as_str().or(answer["type"].as_str());
    assert_eq!(said, Some(code), "{answer}");
    // A sentence of ours, not the attacker's.
    assert!(answer.to_string().len() < 1000, "{answer}");
    siege.goes_on();
    client.say(r#"{"type":"ping","id":"still here"}"#);
    assert_eq!(client.next("pong")["id"], "still here");
    assert_eq!(siege.board.hub.view().channels().len(), 1, "nothing was published");
    drop(client);
    siege.stands();
}

fn nested(open: &str, close: &str) -> String {
    open.repeat(1000) + "1" + &close.repeat(1000)
}

fn ping(more: &str) -> String {
    format!(r#"{{"type":"ping",{more}}}"#)
}

fn publish(values: &str) -> String {
    format!(r#"{{"type":"publish","values":{values}}}"#)
}

fn subscribe(more: &str) -> String {
    format!(r#"{{"type":"subscribe",{more}}}"#)
}

attacks! { told:
    fn lists_a_thousand_deep() => nested("[", "]"), "bad_message";
    fn lists_a_thousand_deep_in_a_message() => ping(&format!(r#""x":{}"#, nested("[", "]"))), "pong";
    fn lists_a_thousand_deep_as_an_id() => ping(&format!(r#""id":{}"#, nested("[", "]"))), "pong";
    fn objects_a_thousand_deep_to_publish() => publish(&nested(r#"{"a":"#, "}")), "refused";
    fn objects_without_end() => r#"{"type":{"#.repeat(1000), "bad_message";
    fn filters_a_thousand_deep() => subscribe(&format!(r#""channels":{}"#, nested("[", "]"))), "bad_message";
    fn a_number_beyond_all_numbers() => publish(r#"{"a":1e999}"#), "refused";
    fn a_number_of_ten_thousand_digits() => publish(&format!(r#"{{"a":{}}}"#, "9".repeat(10_000))), "refused";
    fn a_number_that_is_none() => publish(r#"{"a":NaN}"#), "bad_message";
    fn a_number_without_end() => publish(r#"{"a":-Infinity}"#), "bad_message";
    fn an_id_beyond_all_numbers() => ping(r#""id":1e999"#), "bad_message";
    fn an_id_of_60_kib_does_not_come_back() => ping(&format!(r#""id":"{}""#, "x".repeat(60_000))), "pong";
    fn two_types() => r#"{"type":"ping","type":"publish","values":{"a":1}}"#, "bad_message";
    fn two_ids() => ping(r#""id":1,"id":2"#), "bad_message";
    fn an_unknown_type() => r#"{"type":"shutdown"}"#, "unknown_type";
    fn an_unknown_type_of_60_kib_does_not_come_back() => format!(r#"{{"type":"{}"}}"#, "\u{1f980}".repeat(15_000)), "unknown_type";
    fn a_type_that_is_a_number() => r#"{"type":7}"#, "bad_message";
    fn a_type_that_is_a_list() => r#"{"type":["ping"]}"#, "bad_message";
    fn no_type() => r#"{"id":7}"#, "bad_message";
    fn nothing_at_all() => "", "bad_message";
    fn a_list_of_messages() => r#"[{"type":"ping"}]"#, "bad_message";
    fn two_messages_in_one() => r#"{"type":"ping"}{"type":"ping"}"#, "bad_message";
    fn half_a_surrogate() => r#"{"type":"\ud800"}"#, "bad_message";
    fn half_a_surrogate_to_publish() => publish(r#"{"a":"\udfff"}"#), "refused";
    fn a_byte_order_mark() => format!("\u{feff}{}", ping(r#""id":1"#)), "bad_message";
    fn a_name_of_nine_levels() => publish(r#"{"a/b/c/d/e/f/g/h/i":1}"#), "refused";
    fn a_text_of_1_kib_and_a_byte() => publish(&format!(r#"{{"a":"{}"}}"#, "x".repeat(1025))), "refused";
    fn five_hundred_and_thirteen_values() => publish(&values(513)), "refused";
    fn sixty_five_filters() => subscribe(&filters(65)), "bad_filter";
    fn a_filter_of_nine_levels() => subscribe(r#""channels":["+/+/+/+/+/+/+/+/+"]"#), "bad_filter";
    fn a_filter_with_a_wildcard_amid() => subscribe(r##""channels":["#/a"]"##), "bad_filter";
    fn a_filter_of_129_bytes() => subscribe(&format!(r#""channels":["{}"]"#, "x".repeat(129))), "bad_filter";
    fn a_pace_of_nothing() => subscribe(r#""channels":[],"max_hz":0"#), "bad_message";
    fn a_pace_below_zero() => subscribe(r#""channels":[],"max_hz":-1"#), "bad_message";
    fn a_pace_beyond_all_numbers() => subscribe(r#""channels":[],"max_hz":1e999"#), "bad_message";
    fn a_pace_of_a_billion_is_a_hundred() => subscribe(r#""channels":["none"],"max_hz":1e9"#), "subscribed";
    fn a_place_that_is_no_number() => subscribe(r#""channels":[],"since":{"epoch":"x","seq":-1}"#), "bad_message";
    fn a_place_in_the_midst_of_a_connection() => subscribe(r#""channels":[],"since":{"epoch":"x","seq":1}"#), "bad_since";
}

fn values(count: usize) -> String {
    let values: Vec<_> = (0..count).map(|n| format!(r#""v{n}":{n}"#)).collect();
    format!("{{{}}}", values.join(","))
}

fn filters(count: usize) -> String {
    let filters: Vec<_> = (0..count).map(|n| format!(r#""f{n}""#)).collect();
    format!(r#""channels":[{}]"#, filters.join(","))
}

/// What cannot be asked for in a query is told before the upgrade.
fn asked_in_vain(query: impl AsRef<str>, status: u16) {
    let (siege, query) = (Siege::start(), query.as_ref());
    assert_eq!(siege.ask(&handshake(&format!("/ws?{query}"))).status, status, "{query}");
    siege.stands();
}

attacks! { asked_in_vain:
    fn filters_without_end_in_a_query() => format!("channels={}", "+,".repeat(65)), 400;
    fn a_filter_of_many_levels_in_a_query() => format!("channels={}", "%2B/".repeat(500)), 400;
    fn a_pace_that_is_no_number_in_a_query() => "max_hz=NaN", 400;
    fn a_place_without_end_in_a_query() => format!("since={}:9", "x".repeat(4000)), 101;
    fn a_place_beyond_all_numbers_in_a_query() => "since=x:99999999999999999999", 400;
    fn an_unknown_name_in_a_query() => "role=publish", 400;
}

#[test]
fn a_message_of_10_mib_is_ended_at_its_head() {
    let mut siege = Siege::start();
    let mut stream = raw_websocket(siege.address(), "/ws");
    let mut head = vec![0x81, 0xff];
    head.extend((10_u64 << 20).to_be_bytes());
    send(&mut stream, [head, vec![0; 4]].concat());
    // All the rest need not come.
    assert_eq!(raw_close_code(&mut stream), Some(1009));
    siege.goes_on();
    drop(stream);
    siege.stands();
}

#[test]
fn a_place_that_lies_ahead_or_elsewhere_gets_a_snapshot() {
    let siege = Siege::start();
    let epoch = siege.board.hub.epoch().to_owned();
    for since in [format!("{epoch}:9007199254740993"), "0000:1".into(), ":0".into()] {
        let mut client = siege.try_viewer(&format!("/ws?since={since}"));
        assert_eq!(client.next("subscribed")["recovered"], false, "{since}");
        assert_eq!(client.next("data")["snapshot"], true, "{since}");
    }
    siege.stands();
}

#[test]
fn subscribes_without_end_get_1008() {
    let mut siege = Siege::start();
    let mut client = siege.viewer();
    let subscribe = client_frame(0x81, br##"{"type":"subscribe","channels":["#"]}"##);
    send(client.socket.get_mut(), subscribe.repeat(200));
    assert_eq!(client.close_code(), Some(1008));
    siege.goes_on();
    drop(client);
    siege.stands();
}

#[test]
fn histories_of_everything_at_the_finest_are_refused_where_they_are_too_much() {
    let siege = Siege::start();
    let names: Vec<_> = (0..200).map(|n| format!("n{n}=1\n")).collect();
    let body = names.concat();
    let publish = format!(
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(siege.ask(&publish).status, 200);
    let answer = siege.ask(&get_with("/api/history?channels=%23&last=2d&points=4320", ""));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("points="), "{}", answer.text());
    for query in ["last=1e308d", "last=-1s", "points=99999999999", "from=NaN", "from=1e999&to=-1"] {
        let answer = siege.ask(&get_with(&format!("/api/history?channels=%23&{query}"), ""));
        assert_eq!(answer.status, 400, "{query}");
    }
    siege.stands();
}
