/* A provider of security labels that takes any label, for servers that have none. */
#include "postgres.h"

#include "commands/seclabel.h"
#include "fmgr.h"

PG_MODULE_MAGIC;

void _PG_init(void);

static void
take_any(const ObjectAddress *object, const char *label)
{
}

void
_PG_init(void)
{
    register_label_provider("labels", take_any);
}
