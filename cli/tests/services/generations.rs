//! Columns that are altered while the services run, as a plain reader of the files sees them: the
//! README's line works after every change, rounds nothing, and shows the newest values under the
//! plain name.

use inlet_harness::{duckdb, eventually, judge, shared_database};

use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

const COLUMNS: &str =
    "to_json, to_list, to_uuid, to_number, digits, precise, again, one, two, and_back";

/// The statements of each step, and what DuckDB shows of the two rows after it.
const STEPS: [(&str, [&str; 2]); 4] = [
    (
        "CREATE TABLE t (
             id integer PRIMARY KEY, to_json text, to_list text, to_uuid integer,
             to_number timestamptz, digits numeric(38,0), precise float8, again text, one text,
             two text, and_back text, updated_at timestamptz DEFAULT now());
         CREATE INDEX ON t (updated_at);
         INSERT INTO t SELECT id, 'j' || id, 'l' || id, id, timestamptz 'epoch' + interval '1 s' * id,
             id, 0.5 * id, 'first ' || id, 'one ' || id, 'two ' || id, id FROM generate_series(1, 2) id",
        [
            "1,j1,l1,1,1970-01-01 00:00:01+00,1,0.5,first 1,one 1,two 1,1",
            "2,j2,l2,2,1970-01-01 00:00:02+00,2,1.0,first 2,one 2,two 2,2",
        ],
    ),
    (
        "ALTER TABLE t
             ALTER to_json TYPE jsonb USING to_jsonb(to_json),
             ALTER to_list TYPE text[] USING ARRAY[to_list],
             ALTER to_uuid TYPE uuid USING lpad(to_uuid::text, 32, '0')::uuid,
             ALTER to_number TYPE bigint USING extract(epoch FROM to_number),
             ALTER digits TYPE numeric(38,10),
             ALTER precise TYPE numeric(30,20),
             ALTER and_back TYPE integer USING and_back::integer;
         ALTER TABLE t DROP COLUMN again;
         ALTER TABLE t ADD COLUMN again text;
         ALTER TABLE t RENAME one TO swap;
         ALTER TABLE t RENAME two TO one;
         ALTER TABLE t RENAME swap TO two;
         UPDATE t SET digits = digits + 0.9876543210, precise = precise + 0.00000000000000000001,
             updated_at = now()",
        [
            "1,\"j1\",[l1],00000000-0000-0000-0000-000000000001,1,1.9876543210,\
             0.50000000000000000001,NULL,two 1,one 1,1",
            "2,\"j2\",[l2],00000000-0000-0000-0000-000000000002,2,2.9876543210,\
             1.00000000000000000001,NULL,two 2,one 2,2",
        ],
    ),
    (
        "ALTER TABLE t ALTER and_back TYPE text USING 'text ' || and_back;
         UPDATE t SET again = 'second ' || id, updated_at = now()",
        [
            "1,\"j1\",[l1],00000000-0000-0000-0000-000000000001,1,1.9876543210,\
             0.50000000000000000001,second 1,two 1,one 1,text 1",
            "2,\"j2\",[l2],00000000-0000-0000-0000-000000000002,2,2.9876543210,\
             1.00000000000000000001,second 2,two 2,one 2,text 2",
        ],
    ),
    (
        "ALTER TABLE t ADD COLUMN \"Date\" text;
         ALTER TABLE t ALTER to_json TYPE text USING 'plain';
         UPDATE t SET \"Date\" = 'a day', updated_at = now()",
        [
            "1,plain,[l1],00000000-0000-0000-0000-000000000001,1,1.9876543210,\
             0.50000000000000000001,second 1,two 1,one 1,text 1",
            "2,plain,[l2],00000000-0000-0000-0000-000000000002,2,2.9876543210,\
             1.00000000000000000001,second 2,two 2,one 2,text 2",
        ],
    ),
];

#[tokio::test]
async fn a_plain_reader_sees_the_newest_meaning_of_every_name_and_no_value_changes() {
    for way in WAYS {
        let database = shared_database().await;
        let (create, first) = STEPS[0];
        database.sql(create).await.unwrap();
        let copy = Copy::of(database, way, "tables: { t: }\n").await;
        let copy = copy.over_five_partitions();
        let _services = copy.start(way);
        let latest = format!(
            "SELECT id, {COLUMNS} FROM {} QUALIFY row_number() OVER (PARTITION BY id ORDER BY \
             _detected_at DESC, _offset DESC) = 1 ORDER BY id",
            copy.files("")
        );
        copy.await_rows("", 2).await;
        let shown = || async { duckdb::query(&latest).await };
        assert_eq!(shown().await.unwrap(), rows(first));
        for (alter, expected) in &STEPS[1..] {
            copy.database.sql(alter).await.unwrap();
            let arrived = async || anyhow::Ok(shown().await? == rows(*expected));
            eventually(
                PATIENCE,
                "the newest values are under the plain names",
                arrived,
            )
            .await;
            copy.verified().await;
            // The judge knows columns by their own names; `Date` is `Date_1` for readers.
            if !alter.contains("\"Date\"") {
                judge::equal(INLET, &copy.config, &copy.database, "t").await;
            }
        }
        let retired = format!(
            "SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM (DESCRIBE SELECT * FROM \
             {}) WHERE column_name LIKE '%\\_\\__%' ESCAPE '\\' OR column_name LIKE 'Date%'",
            copy.files("")
        );
        assert_eq!(
            duckdb::query(&retired).await.unwrap().concat().concat(),
            "Date_1 again__1 and_back__2 digits__1 one__1 precise__1 to_json__2 to_list__1 \
             to_number__1 to_uuid__1 two__1"
        );
    }
}

fn rows(lines: [&str; 2]) -> Vec<Vec<String>> {
    let split = |line: &str| line.split(',').map(str::to_owned).collect();
    lines.map(split).to_vec()
}
