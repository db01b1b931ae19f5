-- EUC_JP: characters of two and three bytes, and names of them.
CREATE TABLE "表" ("列" text PRIMARY KEY, "値" varchar(3) CHECK ("値" <> '禁止'));
INSERT INTO "表" VALUES ('日本語', '東京都'), ('ｶﾅ', NULL), (E'表\\ソ\n', '能');
CREATE TYPE "色" AS ENUM ('赤', '青');
CREATE TABLE "色々" ("色" "色") PARTITION BY LIST ("色");
CREATE TABLE "色々_赤" PARTITION OF "色々" FOR VALUES IN ('赤');
INSERT INTO "色々" VALUES ('赤');
CREATE VIEW "景色" AS SELECT "列" || '・' AS "列" FROM "表";
COMMENT ON VIEW "景色" IS '丂 is of three bytes in some tables';
