"""`inlet consumer` over a topic that Debezium writes, into Parquet files: see docs/debezium.md."""

from ..servers import BIN
from .program import Program

CONFIG = """pipeline: land_{table}
kafka:
  brokers: {brokers}
  written_by: debezium
datalake:
  path: {lake}
streaming:
  flush_interval: 500ms
tables:
  {table}:
    topic: {topic}
    key: order_id
    columns:
      - order_id bigint not null
      - customer_name varchar(255)
      - restaurant_name varchar(255)
      - item varchar(255)
      - amount numeric(10,2)
      - order_status varchar(50)
      - created_at timestamptz not null
      - updated_at timestamptz not null
"""


class Landing:
    """The consumer of one topic."""

    def __init__(self, servers, folder, table, topic):
        self.folder, self.lake = folder, folder / "lake"
        self.config = folder / "inlet.yml"
        self.config.write_text(CONFIG.format(table=table, brokers=servers.kafka, topic=topic, lake=self.lake))

    def start(self):
        return [Program("consumer", [BIN / "inlet", "consumer", "--config", self.config], self.folder)]
