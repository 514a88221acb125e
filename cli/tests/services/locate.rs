//! Where one row is, on both sides of the way.

use inlet_harness::shared_database;

use crate::tables::{Copy, WAYS};

const LINES: &str = r#"
    CREATE TABLE lines ("Order/no" integer, "it''s" text, amount integer,
        updated_at timestamptz DEFAULT now(), PRIMARY KEY ("Order/no", "it''s"));
    CREATE INDEX ON lines (updated_at);
    CREATE TABLE log (line text);
    INSERT INTO lines VALUES (-7, 'a''b', 1), (1, 'x', 1), (2, 'x', -1)"#;

#[tokio::test]
async fn a_row_is_found_wherever_it_is() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(LINES).await.unwrap();
        let tables = "tables: { lines: { rules: [\"amount >= 0\"] }, log: }\n";
        let copy = Copy::of(database, verbs, tables).await;
        let services = copy.start(verbs);
        copy.await_rows("lines", 2).await;
        let shown = async |key: &[&str]| {
            let finished = copy.run_with("where", &[&["lines"], key].concat()).await;
            assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
            finished.stdout
        };
        let same = "the lake has the row as PostgreSQL has it";
        let odd = shown(&["-7", "a'b"]).await;
        assert!(
            odd.contains("lake: 1 version") && odd.contains(same),
            "{odd}"
        );
        let rejected = shown(&["2", "x"]).await;
        assert!(rejected.contains("quarantine: "), "{rejected}");
        assert!(rejected.contains("are in quarantine"), "{rejected}");
        assert!(shown(&["9", "x"]).await.contains("neither has such a row"));

        copy.database
            .sql("UPDATE lines SET amount = 5, updated_at = now() WHERE \"Order/no\" = -7")
            .await
            .unwrap();
        copy.await_rows("lines", 3).await;
        let twice = shown(&["-7", "a'b"]).await;
        assert!(
            twice.contains("2 versions") && twice.contains(same),
            "{twice}"
        );

        // What no service carries is on its way, or not known yet.
        for mut service in services {
            service.kill_9().unwrap();
        }
        copy.database
            .sql(
                "UPDATE lines SET amount = 6, updated_at = now() WHERE \"Order/no\" = -7;
                 DELETE FROM lines WHERE \"Order/no\" = 1",
            )
            .await
            .unwrap();
        let behind = shown(&["-7", "a'b"]).await;
        assert!(
            behind.contains("the lake lacks PostgreSQL's version"),
            "{behind}"
        );
        let gone = shown(&["1", "x"]).await;
        assert!(gone.contains("next comparison of keys"), "{gone}");
        let _services = copy.start(verbs);
        copy.await_rows("lines", 5).await;
        let deleted = shown(&["1", "x"]).await;
        assert!(
            deleted.contains("the latest state of the lake is without it"),
            "{deleted}"
        );
    }
}

#[tokio::test]
async fn a_row_is_found_by_a_key_that_has_several_texts() {
    let database = shared_database().await;
    let sql = "CREATE EXTENSION citext;
               CREATE TABLE ports (code citext, depth numeric, name text, at timestamptz DEFAULT \
               now(), PRIMARY KEY (code, depth)); CREATE INDEX ON ports (at);
               INSERT INTO ports VALUES ('Ham', 1.50, 'Hamburg'), ('RTM', 2, 'Rotterdam')";
    database.sql(sql).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { ports: }\n").await;
    let _services = copy.start(&["run"]);
    copy.await_rows("", 2).await;
    for key in [["Ham", "1.50"], ["HAM", "1.5"], ["rtm", "2.000"]] {
        let found = copy
            .run_with("where", &[&["ports"], &key[..]].concat())
            .await;
        let shown = &found.stdout;
        assert!(
            shown.contains("1 version") && shown.contains("as PostgreSQL has it"),
            "{found:?}"
        );
        assert!(shown.contains(&format!("code = {}", key[0])), "{shown}");
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_named_is_refused_in_words() {
    let database = shared_database().await;
    database.sql(LINES).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { lines: , log: }\n").await;
    for (arguments, code, words) in [
        (
            &["lins", "1"][..],
            78,
            "tables with a similar name: `lines`",
        ),
        (&["log", "x"], 78, "has no key"),
        (&["lines", "1"], 78, "in this order: Order/no, it''s"),
        (
            &["lines", "one", "x"],
            1,
            "invalid input syntax for type integer",
        ),
        (&["lines"], 2, "<KEY>"),
    ] {
        let finished = copy.run_with("where", arguments).await;
        assert_eq!(finished.code, code, "{arguments:?}: {}", finished.stderr);
        assert!(
            finished.stderr.contains(words),
            "{arguments:?}: {}",
            finished.stderr
        );
    }
}
