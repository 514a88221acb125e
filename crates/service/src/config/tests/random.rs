//! Files as people break them: random edits of a valid configuration, and random values.

use std::collections::HashMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::file::{Problem, Source, Text};
use super::super::{Config, value};

const NAME: &str = "a.yml";
/// Stands for a password. No word of a message contains it.
const SECRET: &str = "Zq7xVw9";

/// A key of every form, a variable, a comment and a flow mapping.
const VALID: &str = "\
# the shop
pipeline: shop
postgres:
  host: localhost
  port: 5433
  db: 'shop'
  user: ${PGUSER:-inlet}
  password: Zq7xVw9
kafka:
  brokers: [one:9092, two:9092]
  partitions: 3
  properties:
    security.protocol: plaintext
datalake: { path: ./lake, timezone: Europe/Berlin }
streaming:
  poll_interval: 250ms
  flush_bytes: 64MiB
tables:
  orders:
    key: [order_id]
    rules:
      - amount >= 0
      - \"status in ('new', 'paid')\"
    impossible_values: null
  audit_*:
    skip: true
";

/// One edit of a text by lines and characters.
#[derive(Debug, Clone)]
enum Edit {
    Insert(Index, &'static str),
    Remove(Index),
    RemoveLine(Index),
    RepeatLine(Index),
    SwapLines(Index, Index),
    Indent(Index, usize),
    CutAt(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let pieces = vec![
        ":",
        ": ",
        " ",
        "\n",
        "\t",
        "-",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "'",
        "\"",
        "#",
        " #",
        "&a ",
        "*a",
        "|\n",
        ">",
        "!",
        "%",
        "@",
        "`",
        "~",
        "${",
        "${X}",
        "${X:?give it}",
        "$",
        "null",
        "0",
        "\\",
        "é",
        "\u{feff}",
        "\u{2028}",
        "---\n",
        "...\n",
        "? ",
        "<<: ",
        "\r\n",
        "\0",
        ",",
    ];
    let any = any::<Index>;
    prop_oneof![
        4 => (any(), select(pieces)).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        3 => any().prop_map(Edit::Remove),
        1 => any().prop_map(Edit::RemoveLine),
        1 => any().prop_map(Edit::RepeatLine),
        1 => (any(), any()).prop_map(|(one, other)| Edit::SwapLines(one, other)),
        2 => (any(), 0..6_usize).prop_map(|(line, width)| Edit::Indent(line, width)),
        1 => any().prop_map(Edit::CutAt),
    ]
}

fn apply(text: &str, edit: &Edit) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let count = lines.len();
    match edit {
        Edit::Insert(at, piece) => {
            let (before, after) = chars.split_at(at.index(chars.len() + 1));
            return before.iter().collect::<String>() + piece + &after.iter().collect::<String>();
        }
        Edit::Remove(at) if !chars.is_empty() => {
            let at = at.index(chars.len());
            return [&chars[..at], &chars[at + 1..]].concat().iter().collect();
        }
        Edit::Remove(_) => {}
        Edit::CutAt(at) => return chars[..at.index(chars.len() + 1)].iter().collect(),
        Edit::RemoveLine(line) => _ = lines.remove(line.index(count)),
        Edit::RepeatLine(line) => {
            let line = line.index(count);
            lines.insert(line, lines[line].clone());
        }
        Edit::SwapLines(one, other) => lines.swap(one.index(count), other.index(count)),
        Edit::Indent(line, width) => {
            let line = &mut lines[line.index(count)];
            *line = " ".repeat(*width) + line.trim_start();
        }
    }
    lines.join("\n")
}

fn problems(text: &str) -> Vec<Problem> {
    let none = HashMap::new();
    let read = Config::from_texts(&[(NAME, text)], &none);
    read.err().map_or(vec![], |error| error.problems().to_vec())
}

/// Checks that a problem's place is in the text, where an editor can jump to it.
fn check_place(problem: &Problem, text: &str) {
    let shown = problem.to_string();
    let Some(place) = shown.strip_prefix("a.yml:") else {
        return;
    };
    let mut numbers = place.split(':');
    let mut number = || numbers.next()?.parse::<usize>().ok();
    let Some((line, column)) = number().zip(number()) else {
        return;
    };
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&line), "{shown:?} of {text:?}");
    let width = lines[line - 1].chars().count();
    assert!((1..=width + 1).contains(&column), "{shown:?} of {text:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_broken_file_is_refused_at_a_place_inside_it(edits in vec(edit(), 1..8)) {
        let text = edits.iter().fold(VALID.to_owned(), |text, edit| apply(&text, edit));
        for problem in problems(&text) {
            check_place(&problem, &text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The line of the password stays whole; everything around it breaks.
    #[test]
    fn a_password_is_in_no_message_whatever_else_is_wrong(
        edits in vec(edit(), 1..6), key in "[a-z_]{0,12}", width in 0..5_usize
    ) {
        let (before, after) = VALID.split_once("  password: Zq7xVw9\n").unwrap();
        let [before, after] = [before, after].map(|part| {
            edits.iter().fold(part.to_owned(), |text, edit| apply(&text, edit))
        });
        for key in ["password", &format!("password{key}"), &format!("pass{key}word")] {
            let line = format!("{}{key}: {SECRET}\n", " ".repeat(width));
            let text = format!("{before}\n{line}{after}");
            for problem in problems(&text) {
                let shown = format!("{problem} {:?}", problem.remedy());
                prop_assert!(!shown.contains(SECRET), "{} of {}", shown, text);
            }
        }
    }
}

/// A value as a file has it.
fn text(value: impl Into<String>) -> Text {
    let source = Source {
        name: NAME.into(),
        layer: 0,
    };
    Text {
        value: value.into(),
        place: source.place(7, 3),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_duration_is_its_number_of_units(
        number in 1..36_500_u64, unit in 0..5_usize, blanks in " {0,2}"
    ) {
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let (name, milliseconds) = units[unit];
        let read = value::duration("poll_interval", &text(format!("{number}{blanks}{name}")));
        prop_assert_eq!(read, Ok(Duration::from_millis(number * milliseconds)));
    }

    #[test]
    fn a_size_is_its_number_of_units(number in 1..1_u64 << 33, unit in 0..4_u32) {
        let name = ["B", "KiB", "MiB", "GiB"][unit as usize];
        let read = value::size("flush_bytes", &text(format!("{number}{name}")));
        prop_assert_eq!(read, Ok(number * 1024_u64.pow(unit)));
    }

    #[test]
    fn a_count_reads_back_with_its_digits_grouped(number in any::<u64>(), least in any::<u64>()) {
        let digits = number.to_string();
        let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev()
            .map(|group| std::str::from_utf8(group).unwrap()).collect();
        let read = value::count("flush_rows", &text(groups.join("_")), least);
        prop_assert_eq!(read.ok(), (number >= least).then_some(number));
    }

    /// Each reader takes a text exactly when it is one of the forms that the manual shows; a
    /// refusal names the key, the place and the text.
    #[test]
    fn any_other_text_is_refused_with_key_place_and_text(value in "[0-9]{0,22}[ \
        _+-]?[a-zA-Z.é]{0,4}|.*") {
        let written = text(value.clone());
        let number = value.trim_end_matches(|c: char| !c.is_ascii_digit());
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let unit = value[number.len()..].trim_start();
        let has_unit = |units: &[&str]| is_number && units.contains(&unit);
        let refused = |problem: Option<Problem>, may_hold: bool| {
            match problem {
                None => assert!(may_hold, "{value:?}"),
                Some(problem) => {
                    let shown = problem.to_string();
                    assert!(shown.starts_with("a.yml:7:3: `key` "), "{shown}");
                    assert!(shown.contains(&value), "{shown}");
                }
            }
        };
        refused(value::duration("key", &written).err(), has_unit(&["ms", "s", "m", "h", "d"]));
        refused(value::size("key", &written).err(), has_unit(&["B", "KiB", "MiB", "GiB"]));
        let port = value.parse::<u32>().is_ok_and(|port| (1..=65_535).contains(&port));
        refused(value::port("key", &written).err(), port);
        let word = ["true", "yes", "on", "false", "no", "off"].contains(&value.as_str());
        refused(value::boolean("key", &written).err(), word);
        let digits = value.chars().all(|c| c.is_ascii_digit() || c == '_' || c == '+');
        refused(value::count::<u64>("key", &written, 1).err(), digits);
    }

    #[test]
    fn a_zone_by_its_city_is_refused_with_the_whole_name(zone in 0..chrono_tz::TZ_VARIANTS.len()) {
        let name = chrono_tz::TZ_VARIANTS[zone].name();
        prop_assert_eq!(value::timezone("timezone", &text(name)), Ok(chrono_tz::TZ_VARIANTS[zone]));
        let city = name.rsplit('/').next().unwrap().to_lowercase();
        if city.parse::<chrono_tz::Tz>().is_err() {
            let problem = value::timezone("timezone", &text(city.clone())).unwrap_err();
            let named = problem.remedy().unwrap().split('`').nth(1).unwrap();
            prop_assert!(named.to_lowercase().ends_with(&city), "{} for {}", named, city);
        }
    }
}

/// A longer duration than clocks can add, and a number that its unit carries beyond 64 bits.
#[test]
fn a_number_beyond_its_bound_is_refused_and_never_wraps() {
    assert!(value::duration("key", &text("36500d")).is_ok());
    for long in ["36501d", "18446744073709551616ms", "213503982335d"] {
        assert!(value::duration("key", &text(long)).is_err(), "{long}");
    }
    assert!(value::size("key", &text("17179869183GiB")).is_ok());
    for large in ["17179869184GiB", "18446744073709551616B"] {
        assert!(value::size("key", &text(large)).is_err(), "{large}");
    }
    for nothing in ["0ms", "0s", "0d"] {
        assert!(value::duration("key", &text(nothing)).is_err(), "{nothing}");
    }
}

/// Every byte but letters and digits as `%XX`.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(encode).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The parts of an address, before the host or as parameters, as each program writes them.
    #[test]
    fn the_parts_of_an_address_come_back_whatever_they_hold(
        host in select(vec!["db", "db.example-1.com", "10.0.0.1", "::1", "/var/run/postgresql"]),
        port in proptest::option::of(1..=u16::MAX),
        db in "[a-zA-Z+%?&=#@/é\"' -]{0,8}[a-z]",
        user in "[a-zA-Z+%?&=#@:/é\"' -]{0,8}[a-z]",
        password in ".{1,12}",
        is_jdbc in any::<bool>(),
        as_parameters in any::<bool>(),
    ) {
        let db = format!("a{db}");
        let user = format!("a{user}");
        let (host_part, host_parameter) = match host {
            _ if as_parameters => (String::new(), format!("&host={}", encoded(host))),
            "::1" => ("[::1]".to_owned(), String::new()),
            _ => (encoded(host).replace("%2E", ".").replace("%2D", "-"), String::new()),
        };
        let port_part = match port {
            Some(port) if !as_parameters => format!(":{port}"),
            _ => String::new(),
        };
        let port_parameter = match port {
            Some(port) if as_parameters => format!("&port={port}"),
            _ => String::new(),
        };
        let (role, secret) = (encoded(&user), encoded(&password));
        let address = if as_parameters {
            format!("///{}?user={role}&password={secret}{host_parameter}{port_parameter}", encoded(&db))
        } else {
            format!("//{role}:{secret}@{host_part}{port_part}/{}", encoded(&db))
        };
        let key = if is_jdbc { "jdbc_url: jdbc:postgresql:" } else { "url: postgres:" };
        let text = format!("postgres:\n  {key}{address}\n  table: orders\n");
        let config = Config::parse(&text).unwrap();
        let read = &config.require_postgres().unwrap().primary;
        prop_assert_eq!(&read.host, host);
        prop_assert_eq!(read.port, port.unwrap_or(5432));
        prop_assert_eq!((&read.db, &read.user), (&db, &user));
        prop_assert_eq!(read.password(), Some(password.as_str()));
    }

    #[test]
    fn any_address_is_read_or_refused_without_showing_it(address in "(jdbc:)?postgres(ql)?:.{0,30}") {
        let text = format!("postgres: {{ url: {}, table: t }}\n", serde_json::json!(format!("{address}{SECRET}")));
        for problem in problems(&text) {
            prop_assert!(!problem.to_string().contains(SECRET), "{}", problem);
        }
    }
}

/// In an address of PostgreSQL's own programs a plus sign is itself; Java programs read a blank.
#[test]
fn a_plus_sign_in_a_parameter_is_read_as_the_program_that_writes_it_does() {
    let password = |key: &str| {
        let text = format!("postgres:\n  {key}://me@db/shop?password=a+b\n  table: orders\n");
        let config = Config::parse(&text).unwrap();
        let primary = config.require_postgres().unwrap().primary.clone();
        primary.password().map(str::to_owned)
    };
    assert_eq!(password("url: postgresql").as_deref(), Some("a+b"));
    assert_eq!(
        password("jdbc_url: jdbc:postgresql").as_deref(),
        Some("a b")
    );
}
