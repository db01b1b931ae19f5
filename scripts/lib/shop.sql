-- The quickstart's database: a small shop, the same on every run.
create table customers (id int primary key, name text not null, email text not null unique, city text not null);
create table products (sku text primary key, title text not null, cents int not null check (cents > 0));
create table orders (id int primary key, customer int not null references customers, placed timestamptz not null);
create table order_lines (
    order_id int references orders, sku text references products, quantity int not null check (quantity > 0),
    primary key (order_id, sku)
);

insert into customers
select n, first || ' ' || last, 'customer' || n || '@example.com', city
from generate_series(1, 2000) n,
lateral (select
    ('{Ada,Bruno,Chloé,Dilnoza,Emeka,Fatima,Goran,Hana,Ivo,Jamshid,Keiko,Lucía}'::text[])[1 + n % 12] first,
    ('{Almeida,Brandt,Costa,Eriksen,Fischer,Karimov,Laurent,Okafor,Sato,Silva,Yusupova}'::text[])[1 + n % 11] last,
    ('{Berlin,Lagos,Lisbon,Lyon,Osaka,Samarkand,Tashkent}'::text[])[1 + n % 7] city
) who;

insert into products
select 'P-' || 100 + n, size || ' ' || thing, 300 + n * 137 % 9000
from generate_series(0, 39) n,
lateral (select
    ('{Small,Medium,Large,Huge}'::text[])[1 + n % 4] size,
    ('{teapot,lamp,rug,chair,basket,mug,clock,bowl,vase,kettle}'::text[])[1 + n / 4] thing
) what;

insert into orders
select n, 1 + n * 7919 % 2000, timestamptz '2026-01-01 09:00+00' + n * interval '47 minutes'
from generate_series(1, 6000) n;

insert into order_lines
select n, 'P-' || 100 + (n * 13 + line * 7) % 40, 1 + (n + line) % 5
from generate_series(1, 6000) n, generate_series(1, 1 + n % 4) line;
