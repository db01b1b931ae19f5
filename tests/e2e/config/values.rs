//! Values for every key that may be changed: those that must be taken as they are, and those that must not.

use serde_json::{Value, json};

/// Values that must be taken, the last of which stays, and values that must not.
pub type Values = (Vec<Value>, Vec<Value>);

/// A value that leaves room for a key in the longest body that is taken.
const LONG: usize = 60 * 1024;

fn words(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| json!(text)).collect()
}

/// One text a line.
fn lines(texts: &str) -> Vec<Value> {
    texts.lines().map(|text| json!(text)).collect()
}

fn long(text: &str) -> Value {
    json!(text.repeat(LONG / text.len()))
}

/// The text that a good value is kept as.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => if *flag { "TRUE" } else { "FALSE" }.to_owned(),
        Value::Number(number) => number.to_string(),
        other => panic!("{other} is no value of a setting"),
    }
}

/// The values for a key.
pub fn of(key: &str) -> Values {
    match key {
        "SCHEDULE" => schedules(),
        "BACKUP_KEEP_MINS"
        | "BACKUP_KEEP_DAYS"
        | "BACKUP_KEEP_WEEKS"
        | "BACKUP_KEEP_MONTHS"
        | "BACKUP_MIN_DISK_SPACE"
        | "BACKUP_MAX_AGE_HOURS" => whole_numbers(),
        "TELEGRAM_API_ID" => whole_numbers(),
        "POSTGRES_DB" => databases(false),
        "POSTGRES_DB_EXCLUDE" => databases(true),
        "POSTGRES_DB_AUTODISCOVER" => flags(),
        "POSTGRES_EXTRA_OPTS" => dump_options(),
        "POSTGRES_EXCLUDE_TABLES" => text(),
        "TELEGRAM_BOT_TOKEN" | "TELEGRAM_API_HASH" => secrets(),
        // With a token, which is there by then, they must make sense.
        "TELEGRAM_CHAT_ID" => {
            (words(&["", "5", "-100123, @channel_1", "@a"]), words(&["it's", "me", "5;6", "@", "@a b"]))
        }
        "TELEGRAM_THREAD_ID" => (words(&["", "7", "-3"]), words(&["x", "1.5", "7 "])),
        "TELEGRAM_API_URL" => urls(),
        "WEBHOOK_URL" => urls(),
        "TELEGRAM_NOTIFY_ON" => one_of(&["all", "success", "failure", "none"]),
        "TELEGRAM_UPLOAD_METHOD" => one_of(&["smart", "botapi", "mtproto"]),
        "WEBHOOK_EXTRA_ARGS" => curl_options(),
        other => panic!("{other} may be changed, but no value of it is tested"),
    }
}

/// What is no value of any setting.
pub fn unfit() -> Vec<Value> {
    let mut unfit =
        words(&["a\nb", "\n", "a\rb", "a\tb", "a\u{0}b", "\u{7f}", "\u{1b}[2J", "a\u{85}b", "1\n"]);
    unfit.extend([json!(1.5), json!(-0.0), json!(1e300)]);
    unfit.extend([json!([]), json!(["@daily"]), json!({}), json!({"a": 1})]);
    unfit
}

fn text() -> Values {
    let mut good = lines(
        "it's\n''\n'; touch /tmp/x; '\n\"quoted\"\n$HOME ${x} $(id)\n`id`\n\\\n'\\''\né☃𝄞\n\n \n-\n# x\n\
         a;b&&c|d>e<f*?[!]~\n%s%n",
    );
    good.extend([long("x"), json!(42), json!(-1), json!(true), json!(u64::MAX), json!("plain")]);
    (good, Vec::new())
}

/// The same, but not nothing.
fn secrets() -> Values {
    let (mut good, mut bad) = text();
    good.retain(|value| *value != json!(""));
    bad.push(json!(""));
    (good, bad)
}

fn whole_numbers() -> Values {
    let mut good = words(&["0", "08", "2147483647", "000000000000000000014"]);
    good.extend([json!(0), json!(2_147_483_647)]);
    let mut bad = lines(
        "-1\n+1\n1.5\n2147483648\n1e3\n 1\n1 \nx\n٣\n0x10\n'1'\n\"1\"\n$(id)\n`id`\né\n18446744073709551616",
    );
    bad.extend([json!(-1), json!(2_147_483_648_u64), json!(true), json!(false), long("1")]);
    bad.push(json!(""));
    good.push(json!(14));
    (good, bad)
}

fn one_of(all: &[&str]) -> Values {
    let mut good = words(all);
    good.extend(all.iter().map(|word| json!(word.to_uppercase())));
    let mut bad = words(&["", "sometimes", " ", "'", "\"all\"", "$HOME", "`id`", "é"]);
    bad.extend([json!(format!("{} ", all[0])), json!(1), long(all[0])]);
    (good, bad)
}

fn flags() -> Values {
    let (mut good, mut bad) = one_of(&["true", "false"]);
    good.extend([json!(true), json!("True"), json!(false)]);
    bad.extend(words(&["yes", "1", "0"]));
    (good, bad)
}

fn urls() -> Values {
    let mut good = lines(
        "http://127.0.0.1:9/\nHTTP://[::1]:9/\nhttp://user:p%20w@127.0.0.1:9/x?y=z#e\n\
         http://127.0.0.1:9/it's/\"quoted\"/$HOME/`id`/\\/é☃",
    );
    good.push(json!(format!("http://127.0.0.1:9/{}", "x".repeat(LONG))));
    let mut bad = lines(
        "ftp://a/\na\n//a/\nhttp://\nhttp:///x\nhttp://@/\nhttp://:80/\nhttp://a b/\nhttp://[]/\n\
         file:///etc/passwd\njavascript:alert(1)\né\n'\n$HOME\n`id`\n http://a/",
    );
    bad.extend([json!(1), json!(true), long("x")]);
    bad.push(json!(""));
    good.push(json!("http://127.0.0.1:9/hook"));
    (good, bad)
}

fn databases(or_none: bool) -> Values {
    let mut good = lines(
        "a b,c\nit's\nq\"uote\ndo$llar $(id)\n`tick`\né☃\n\\\n app \n-x\na;b\n'; touch /tmp/x; '\n\"my db\" 'it''s'",
    );
    let many: Vec<String> = (0..LONG / 12).map(|number| format!("database{number:03x}")).collect();
    good.extend([json!("x".repeat(63)), json!(many.join(",")), json!(7), json!(true)]);
    let mut bad = lines("a \"my db\n'\n'a'b\n''");
    bad.extend([json!("x".repeat(64)), json!(format!("a,{}", "é".repeat(32))), long("x")]);
    if or_none { &mut good } else { &mut bad }.extend(words(&["", " ", ","]));
    good.push(json!("app"));
    (good, bad)
}

fn schedules() -> Values {
    let mut good = lines(
        "@midnight\n@every 24h\n@every 1h30m\n0 3 * * *\n30 0 3 * * *\n*/15 2 * * 1-5\n\
         CRON_TZ=Europe/Berlin 0 3 * * *\n0 0 29 2 *\n0 3 * JAN-MAR sun\n0 3 * * 7",
    );
    good.push(json!(format!("0 3 * * {}6", "0,".repeat(LONG / 2))));
    good.push(json!("@yearly"));
    let mut bad = lines(
        "\n \na b c d e\n61 99 * * *\n0 0 30 2 *\n* * * *\n* * * * * * *\n@every 500ms\n@every\n@every x\n@reboot\n\
         @daily x\n@daily; touch /tmp/x\n0 3 * * * # x\n$(id)\n`id`\n'\n\"\né 3 * * *\n0 3 * * *'\n\
         CRON_TZ=Nowhere/Land 0 3 * * *\nTZ=UTC\n-1 3 * * *\n0-60 3 * * *\n*/0 3 * * *",
    );
    bad.extend([json!(5), json!(true), long("*"), long("0 3 * * * ")]);
    (good, bad)
}

fn dump_options() -> Values {
    let mut good = lines(
        "\n-Z9 --no-owner\n--exclude-table='a b'\n--schema=\"it's\"\n-t '$x `id`'\n-t é☃\n-Z 0\n\
         --exclude-table-data=\\*",
    );
    good.push(json!(format!("--schema={}", "x".repeat(LONG))));
    good.push(json!("-Z1"));
    let mut bad = lines(
        "-f /x\n-f/x\n-vf /x\n--file=/x\n--file /x\n--fil=/x\n--f /x\n--filter=/x\n--filter /x\n--filt=/x\n-d x\n\
         --dbname=x\n-h x\n--host=x\n-p 1\n--port=1\n-U x\n--username x\n-w\n-W\n--no-password\n--password\n--\n-\n\
         x\n'unclosed\n\"unclosed\n$(id)\n`id`\n-Z10\n-Z",
    );
    bad.extend([json!(5), json!(true)]);
    (good, bad)
}

fn curl_options() -> Values {
    let mut good = lines(
        "\n-H 'X: y'\n-H 'X: \"$HOME\" `id` é☃'\n-H \"it's\"\n-HX:y\n-m 5 -k\n-u user:pass\n-sS4\n-A agent\n\
         --max-time 5 --retry 2 --retry-delay 1 --connect-timeout 3",
    );
    good.push(json!(format!("--header 'X: {}'", "x".repeat(LONG))));
    good.push(json!("-m 10"));
    let mut bad = lines(UNSAFE_CURL_OPTIONS);
    bad.extend(words(&["'open", "\"open", "$HOME", "`id`", "é", "-é"]));
    bad.extend([json!(5), json!(true), long("x")]);
    (good, bad)
}

/// Options that would let curl read or write a file, or send something elsewhere; `/x` is a file, `evil` a server.
pub const UNSAFE_CURL_OPTIONS: &str = "\
-d @/x\n-d x\n--data @/x\n--data-binary @/x\n--data-urlencode a@/x\n-F a=@/x\n--form a=</x\n--json @/x\n-T /x
--upload-file /x\n-o /x\n-o/x\n-ko /x\n-kH@/x\n--output /x\n-O\n--remote-name\n--output-dir /x\n-K /x\n--config /x
-c /x\n-b /x\n--cookie /x\n-D /x\n--dump-header /x\n--trace /x\n--trace-ascii /x\n--stderr /x\n-E /x\n--cert /x
--key /x\n--cacert /x\n--netrc-file /x\n-n\n--etag-save /x\n--hsts /x\n--alt-svc /x\n--libcurl /x\n-w @/x
--write-out @/x\n-H @/x\n-H@/x\n--header @/x\n--header=@/x\n--proxy-header @/x\n-x evil\n--proxy evil
--url http://evil\nhttp://evil\n-L\n--location\n--next\n-:\n-X DELETE\n--unix-socket /x\n--interface x
--resolve a:1:b\n--connect-to a:1:b:2\n-H\n--header\n-k -o /x\n-m 5 http://evil";
