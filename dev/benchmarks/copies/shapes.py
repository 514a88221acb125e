"""The tables that are copied: the orders of the example, and trips as New York's taxis report them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shape:
    """A table: how it is made, and the expressions by which a copy is checked."""

    name: str
    columns: int
    key: str
    money: str
    moment: str
    definition: str
    rows: str
    # Taxi rows are three times as wide: a part of the rows makes copies of about the same length.
    part: float = 1

    def create(self, rows):
        return (
            f"CREATE TABLE {self.name} ({self.definition}); CREATE INDEX ON {self.name} ({self.moment});\n"
            f"INSERT INTO {self.name} SELECT {self.rows} FROM generate_series(1, {rows}) i;\nVACUUM ANALYZE {self.name};"
        )


ORDERS = Shape(
    name="orders", columns=8, key="order_id", money="amount", moment="updated_at",
    definition="""order_id bigint PRIMARY KEY, customer_name varchar(255), restaurant_name varchar(255), item varchar(255),
  amount numeric(10,2), order_status varchar(50), created_at timestamptz, updated_at timestamptz""",
    rows="""i, 'Customer ' || i % 9000, 'Restaurant ' || i % 300, 'Item number ' || i % 5000,
  (i::bigint * 7919 % 1000000) / 100.0, (ARRAY['PLACED', 'PREPARING', 'PICKED UP', 'DELIVERED'])[1 + i % 4],
  now() - make_interval(secs => i / 100.0), now() - make_interval(secs => i / 100.0) + interval '1.234567 s'""",
)
MONEY = [
    "fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge", "total_amount",
    "congestion_surcharge", "airport_fee",
]
TAXI = Shape(
    name="taxi", columns=29, key="trip_id", money="total_amount", moment="updated_at", part=0.3,
    definition=f"""trip_id bigint PRIMARY KEY, vendor_id int, requested_at timestamp, pickup_at timestamp, dropoff_at timestamp,
  passenger_count int, trip_distance numeric(8,2), rate_code int, store_and_forward text, pickup_location int,
  dropoff_location int, payment_type int, {', '.join(f'{name} numeric(8,2)' for name in MONEY)},
  pickup_latitude numeric(9,6), pickup_longitude numeric(9,6), dropoff_latitude numeric(9,6), dropoff_longitude numeric(9,6),
  kilometres numeric(10,3), minutes numeric(10,1), speed numeric(6,2), updated_at timestamptz""",
    rows=f"""i, 1 + i % 2, now() - make_interval(secs => i), now() - make_interval(secs => i - 90), now() - make_interval(secs => i - 990),
  1 + i % 5, i % 3000 / 100.0, 1 + i % 6, (ARRAY['N', 'Y'])[1 + i % 2], i % 263, i * 7 % 263, i % 4,
  {', '.join(f'(i::bigint * {7 + 2 * place} % 9999) / 100.0' for place in range(len(MONEY)))},
  40 + i % 999983 / 1000000.0, -74 + i % 999979 / 1000000.0, 40 + i * 3 % 999961 / 1000000.0, -74 + i * 5 % 999959 / 1000000.0,
  i % 30000 / 1000.0, i % 900 / 10.0, i % 9000 / 100.0, now() - make_interval(secs => i / 100.0)""",
)
ALL = [ORDERS, TAXI]
