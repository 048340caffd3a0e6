use super::*;

/// The points of a line as `name[unit]=value@stamp`, or its refusal.
fn read(text: &str) -> Result<Vec<String>, String> {
    let mut points = Points::default();
    parse(text.as_bytes(), &mut points).map_err(|why| why.to_string())?;
    Ok(points.iter().map(show).collect())
}

pub(super) fn show(point: Point<'_>) -> String {
    let value = match point.value {
        Value::Number(number) if point.is_change => format!("{number:+}"),
        Value::Number(number) => number.to_string(),
        Value::Bool(on) => on.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Null => panic!("{} is null", point.name),
    };
    let unit = point.unit.map(|unit| format!("[{unit}]")).unwrap_or_default();
    let stamp = match point.stamp {
        Stamp::Arrival => String::new(),
        Stamp::At(time) => format!("@{time}"),
        Stamp::Offset(time) => format!("@now{time:+}"),
    };
    format!("{}{unit}={value}{stamp}", point.name)
}

fn good(table: &[(&str, &[&str])]) {
    for (line, points) in table {
        assert_eq!(read(line).expect(line), *points, "{line}");
    }
}

/// Each line is refused with a sentence that holds this.
fn bad(table: &[(&str, &str)]) {
    for (line, hint) in table {
        let why = read(line).expect_err(line);
        assert!(why.contains(hint), "{line}: {why}");
        assert!(why.len() <= 200 && !why.chars().any(char::is_control), "{line}: {why}");
    }
}

#[test]
fn plain_lines_are_names_and_values() {
    good(&[
        ("", &[]),
        ("  \t\r", &[]),
        ("# room/temp=1", &[]),
        ("room/temp 21.5", &["room/temp=21.5"]),
        ("room/temp \t 21.5\r", &["room/temp=21.5"]),
        ("room/temp=21.5", &["room/temp=21.5"]),
        ("a=1 b=-2.5e3\tc=.5  d=+4.", &["a=1", "b=-2500", "c=0.5", "d=4"]),
        ("door=true lamp=false", &["door=true", "lamp=false"]),
        ("door true", &["door=true"]),
        (r#"note "window open""#, &[r#"note="window open""#]),
        (r#"note="a \"b\" \\ \n = , |" x=1"#, &[r#"note="a \"b\" \\ \\n = , |""#, "x=1"]),
        (r#"note="""#, &[r#"note="""#]),
        ("grad=\"21 °C\"", &["grad=\"21 °C\""]),
    ]);
}

#[test]
fn a_plain_line_that_is_wrong_says_what_to_write() {
    let long_text = format!("a=\"{}\"", "x".repeat(1025));
    let long_name = format!("{}=1", "x".repeat(129));
    let long_line = format!("a={}", "1".repeat(MAX_LINE));
    let many: String = (0..=MAX_POINTS).map(|number| format!("a{number}=1 ")).collect();
    bad(&[
        ("room/temp", "write name=value"),
        ("room/temp 21.5 22", "one name and one value"),
        ("room/temp = 21.5", "no blanks around"),
        ("a=1 b", r#""b" has no value"#),
        ("a= b=1", "a value is missing"),
        ("=1", "empty level"),
        ("a//b=1", "empty level"),
        ("a/b/c/d/e/f/g/h/i=1", "more than 8 levels"),
        ("tür=1", "A-Z a-z"),
        ("a;b=1", "A-Z a-z"),
        (&long_name, "longer than 128 bytes"),
        ("door=open", "write a text in quotes"),
        ("temp=21,5", r#""21,5" is no number"#),
        ("temp=21.5C", r#""21.5C" is no number"#),
        ("temp=0x10", "is no number"),
        ("temp=nan", "NaN"),
        ("temp=-inf", "NaN"),
        ("temp=Infinity", "NaN"),
        ("temp=1e999", "too large"),
        (r#"note="open"#, "closing quote"),
        (r#"note="a"b=1"#, "a blank must follow"),
        (&long_text, "1024 bytes"),
        (&long_line, "longer than 16384 bytes"),
        (&many, "more than 512 values"),
        ("a:b", "a colon alone"),
        ("<13>Nov 22 21:01:22 pi me: room/temp=21.5", "a message of syslog"),
        ("<13>1 2026-11-22T21:01:22Z pi me - - - room/temp=21.5", "a message of syslog"),
        ("<x>=1", "A-Z a-z"),
        ("\u{1b}[2J=1", "A-Z a-z"),
    ]);
    let mut points = Points::default();
    let why = parse(b"a=1 \xff=2", &mut points).expect_err("not UTF-8");
    assert!(why.as_str().contains("UTF-8") && points.is_empty());
}

#[test]
fn statsd_gauges_are_taken_and_nothing_else_of_it() {
    good(&[
        ("gaugor:333|g", &["gaugor=333"]),
        ("gaugor:-10|g", &["gaugor=-10"]),
        ("gaugor:+4|g", &["gaugor=+4"]),
        ("room/k!tchen:1.5|g", &["room/k_tchen=1.5"]),
    ]);
    bad(&[
        ("gorets:1|c", "only gauges are taken"),
        ("glork:320|ms", r#"not "ms""#),
        ("uniques:765|s", "only gauges"),
        ("gaugor:333|g|@0.1", "rates and tags"),
        ("gaugor:333|g|#a:b", "rates and tags"),
        ("gaugor:|g", "a value is missing"),
        ("gaugor:x|g", "neither a number"),
        (":1|g", "empty level"),
    ]);
}

/// Lines of the "Line protocol reference" of InfluxDB's documentation, and of
/// its "special characters".
#[test]
fn influx_lines_become_measurement_tags_and_field() {
    good(&[
        (
            r#"myMeasurement,tag1=value1,tag2=value2 fieldKey="fieldValue" 1556813561098000000"#,
            &[r#"myMeasurement/value1/value2/fieldKey="fieldValue"@1556813561.098"#],
        ),
        (
            "weather,site=roof,device=a1 temp=21.5,wind=3i,gust=5u",
            &["weather/a1/roof/temp=21.5", "weather/a1/roof/wind=3", "weather/a1/roof/gust=5"],
        ),
        ("myMeasurement fieldKey=1.0", &["myMeasurement/fieldKey=1"]),
        ("soil value=41.5 -5000000000", &["soil=41.5@-5"]),
        ("m,t=x value=1i", &["m/x=1"]),
        ("m a=t,b=FALSE,c=True,d=f", &["m/a=true", "m/b=false", "m/c=true", "m/d=false"]),
        (r"my\ Measurement,tag\ Key=tag\ Value f=1", &["my_Measurement/tag_Value/f=1"]),
        (r"m,path=/dev/sda,x=a\,b\=c f\=1=2", &["m/_dev_sda/a_b_c/f_1=2"]),
        (r#"m s="a, b=c \"d\" \\",x=1 7000000000"#, &[r#"m/s="a, b=c \"d\" \\"@7"#, "m/x=1@7"]),
        ("m:x,t=ü v=-1e3", &["m_x/_/v=-1000"]),
        (
            "cpu,cpu=cpu-total,host=pi usage_user=1.5,usage_idle=98.5 1763796000000000000",
            &[
                "cpu/cpu-total/pi/usage_user=1.5@1763796000",
                "cpu/cpu-total/pi/usage_idle=98.5@1763796000",
            ],
        ),
    ]);
    bad(&[
        ("weather,site=roof", "without fields"),
        ("weather,site= temp=1", "a tag without"),
        ("weather,site temp=1", "a tag without"),
        (",a=b c=1", "measurement is missing"),
        ("m a=", "a value is missing"),
        ("m a=1,", "without name or value"),
        ("m a=1,=2", "without name or value"),
        ("m a=1 yesterday", "no time stamp in nanoseconds"),
        ("m a=1 1.5", "no time stamp in nanoseconds"),
        ("m a=1 b=2", "no time stamp"),
        ("m a=NaN", "NaN"),
        ("m a=0x1i", "is no number"),
        ("m a=i", "neither a number"),
        ("m,a=1,b=2,c=3,d=4,e=5,f=6,g=7 x=1", "more than 8 levels"),
        ("m,a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9 x=1", "more tags than"),
    ]);
}

#[test]
fn json_objects_join_their_names() {
    good(&[
        ("{}", &[]),
        (r#"{"room/temp":21.5}"#, &["room/temp=21.5"]),
        (
            r#" {"room": {"temp":21.5, "wall":{"hum":40}}, "door":true,"note":"a\nb","no":null} "#,
            &["room/temp=21.5", "room/wall/hum=40", "door=true", r#"note="a\nb""#],
        ),
        (
            r#"{"a":-7,"b":18446744073709551615,"c":1e3}"#,
            &["a=-7", "b=18446744073709552000", "c=1000"],
        ),
        (r#"{"\u0061":1}"#, &["a=1"]),
    ]);
    let deep = format!("{}1{}", r#"{"a":"#.repeat(9), "}".repeat(9));
    let abyss = r#"{"a":"#.repeat(3000);
    bad(&[
        ("{", "not JSON"),
        (r#"{"a":1} x"#, "not JSON"),
        (r#"{"a":NaN}"#, "not JSON"),
        (r#"{"a":1e999}"#, "not JSON"),
        (r#"{"a":[1,2]}"#, "a list is no value"),
        (r#"{"a b":1}"#, "A-Z a-z"),
        (r#"{"":1}"#, "empty level"),
        (r#"{"a":{"":1}}"#, "empty level"),
        ("{\"a\u{7f}\":1}", "A-Z a-z"),
        (&deep, "8 levels"),
        (&abyss, "8 levels"),
    ]);
}

/// The examples of RFC 8428, sections 5.1.1 to 5.1.5 and 5.1.7.
#[test]
fn senml_packs_are_resolved_as_the_rfc_does() {
    good(&[
        (
            r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#,
            &["urn_dev_ow_10e2073a01080063[Cel]=23.1"],
        ),
        (
            r#"[
             {"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
             {"n":"current","u":"A","v":1.2}
            ]"#,
            &[
                "urn_dev_ow_10e2073a01080063_voltage[V]=120.1",
                "urn_dev_ow_10e2073a01080063_current[A]=1.2",
            ],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,
              "n":"voltage","u":"V","v":120.1},
             {"n":"current","t":-5,"v":1.2},{"n":"current","v":1.7}]"#,
            &[
                "urn_dev_ow_10e2073a0108006_voltage[V]=120.1@1276020076.001",
                "urn_dev_ow_10e2073a0108006_current[A]=1.2@1276020071.001",
                "urn_dev_ow_10e2073a0108006_current[A]=1.7@1276020076.001",
            ],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
              {"u":"lon","v":24.30621},{"u":"lat","v":60.07965},{"t":60,"v":20.3}]"#,
            &[
                "urn_dev_ow_10e2073a01080063[%RH]=20@1320067464",
                "urn_dev_ow_10e2073a01080063[lon]=24.30621@1320067464",
                "urn_dev_ow_10e2073a01080063[lat]=60.07965@1320067464",
                "urn_dev_ow_10e2073a01080063[%RH]=20.3@1320067524",
            ],
        ),
        (
            r#"[{"bn":"urn:dev:mac:0024befffe804ff1/","n":"temp","u":"Cel","v":27.2},
              {"n":"label","vs":"Machine Room"},{"n":"open","vb":false},{"x":1,"n":"n","t":-5,"v":0}]"#,
            &[
                "urn_dev_mac_0024befffe804ff1/temp[Cel]=27.2",
                "urn_dev_mac_0024befffe804ff1/label=\"Machine Room\"",
                "urn_dev_mac_0024befffe804ff1/open=false",
                "urn_dev_mac_0024befffe804ff1/n=0@now-5",
            ],
        ),
        (r#"[{"bn":"a","bv":100},{"v":1},{"bv":-1,"v":1,"t":0}]"#, &["a=101", "a=0"]),
        ("[]", &[]),
    ]);
    bad(&[
        (r#"[{"n":"a"}]"#, "one of v, vb and vs"),
        (r#"[{"n":"a","v":1,"vs":"x"}]"#, "one of v, vb and vs"),
        (r#"[{"n":"a","vd":"aGk"}]"#, "one of v, vb and vs"),
        (r#"[{"n":"a","s":1}]"#, "one of v, vb and vs"),
        (r#"[{"n":"a","v":1,"new_":1}]"#, "not understood"),
        (r#"[{"n":"a","bver":11,"v":1}]"#, "version"),
        (r#"[{"v":1}]"#, "empty level"),
        (r#"[{"n":"a","v":"1"}]"#, "invalid type"),
        ("[{\"n\":\"a\",\"v\":\"\\u001b\"}]", "invalid type"),
        (r#"[{"n":"a","u":"two words","v":1}]"#, "unit"),
        (r#"[{"bv":1e308},{"n":"a","v":1e308}]"#, "NaN"),
        ("[1]", "SenML record"),
        ("[", "not JSON"),
    ]);
}

#[test]
fn a_published_message_has_values_like_an_object() {
    let mut points = Points::default();
    let text = r#"{"type":"publish","id":[7],"values":{"room":{"temp":21.5},"door":true}}"#;
    publish_message(text, &mut points).expect("fine");
    assert_eq!(points.iter().map(show).collect::<Vec<_>>(), ["room/temp=21.5", "door=true"]);
    for (text, hint) in [
        (r#"{"type":"publish"}"#, "no values"),
        (r#"{"type":"publish","value":{}}"#, "takes values and id"),
        (r#"{"type":"publish","values":{},"values":{}}"#, "each once"),
        (r#"{"type":"publish","values":[1]}"#, "an object of names"),
    ] {
        let why = publish_message(text, &mut points).expect_err(text);
        assert!(why.as_str().contains(hint), "{text}: {why}");
    }
}

#[test]
fn a_line_is_taken_whole_or_not_at_all_and_room_is_used_again() {
    let mut points = Points::default();
    parse(b"a=1 b=2", &mut points).expect("fine");
    assert_eq!(points.len(), 2);
    parse(b"a=1 b=x", &mut points).expect_err("bad");
    assert!(points.is_empty());
    parse(b"c=3", &mut points).expect("fine");
    assert_eq!(points.iter().map(show).collect::<Vec<_>>(), ["c=3"]);
}

#[test]
fn depth_costs_no_stack() {
    let texts = [r#"{"a":"#, "[", r#"[{"x":"#, r#"{"type":"publish","id":"#]
        .map(|open| open.repeat(MAX_DOCUMENT / open.len()));
    let small = std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
        for text in texts {
            let mut points = Points::default();
            parse(text.as_bytes(), &mut points).expect_err("endless");
            publish_message(&text, &mut points).expect_err("endless");
        }
    });
    small.expect("a thread").join().expect("no overflow");
}
