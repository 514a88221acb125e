-- Food orders: the table, and its first ten rows.
--
-- The index lets a poll find new rows without reading the whole table.

CREATE TABLE orders (
    order_id serial PRIMARY KEY,
    customer_name varchar(255),
    restaurant_name varchar(255),
    item varchar(255),
    amount numeric(10,2),
    order_status varchar(50),
    created_at timestamp DEFAULT now()
);

CREATE INDEX ON orders (created_at);

INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status, created_at) VALUES
    ('Asha Menon',     'Banana Leaf',    'Masala Dosa',        140.00, 'DELIVERED', '2026-11-16 08:42:10.125'),
    ('Rohan Gupta',    'Tandoor House',  'Butter Naan (4)',     96.50, 'DELIVERED', '2026-11-16 13:05:47.9'),
    ('Lena Vogt',      'Trattoria Uno',  'Penne all''Arrabbiata', 312.75, 'DELIVERED', '2026-11-16 19:30:02.000001'),
    ('Imran Sheikh',   'Biryani Corner', 'Chicken Biryani',    289.00, 'DELIVERED', '2026-11-17 12:14:33.5'),
    ('Mei Tanaka',     'Café Zürich',    'Rösti',              245.25, 'CANCELLED', '2026-11-17 12:59:59.999999'),
    ('Priya Nair',     'Banana Leaf',    'Filter Coffee',       45.00, 'DELIVERED', '2026-11-17 16:20:18.25'),
    ('Oskar Lind',     'Green Bowl',     'Lentil Salad',       178.40, 'DELIVERED', '2026-11-17 23:59:59.999999'),
    ('Fatima Zahra',   'Tandoor House',  'Paneer Tikka',       265.00, 'DELIVERED', '2026-11-18 00:00:00'),
    ('Dev Patel',      'Biryani Corner', 'Raita',                0.00, 'PREPARING', '2026-11-18 13:11:05.75'),
    ('Carla Souza',    'Trattoria Uno',  'Tiramisù',           190.10, 'PLACED',    '2026-11-18 20:45:31.333');
