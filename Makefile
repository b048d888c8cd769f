# make, make install and make installcheck are PGXS's: they take the rendered scripts in extension/ as they are and
# need nothing but make and PostgreSQL's pg_config. Everything a developer does (render, lint, test, ...) goes
# through scripts/develop, which brings what it needs.

EXTENSION    = dialog_partition
DATA         = $(wildcard extension/dialog_partition--*.sql)
DOCS         = $(wildcard README.md doc/*.md)
REGRESS      = smoke
REGRESS_OPTS = --inputdir=tests/regress --outputdir=tests/regress --load-extension=plpython3u
EXTRA_CLEAN  = $(addprefix tests/regress/,results regression.diffs regression.out)

PG_CONFIG ?= pg_config

.DEFAULT_GOAL := all
DEVELOPER_GOALS = render lint test test-all demo bench dist
.PHONY: all $(DEVELOPER_GOALS) clean-develop

# ARGS go to pytest, or to the benchmarks: make test ARGS='-k maintenance'
$(DEVELOPER_GOALS):
	scripts/develop $@ $(ARGS)

clean-develop:
	rm -rf .venv dist

PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2> /dev/null))
ifneq ($(PGXS),)
include $(PGXS)
# README.md and reference.md are names that other extensions have, too: a folder of our own. PGXS would look for the
# pages in a folder doc/ below it when it removes them.
docmoduledir := extension/$(EXTENSION)
uninstall: uninstall-pages
.PHONY: uninstall-pages
uninstall-pages:
	rm -rf '$(DESTDIR)$(docdir)/$(docmoduledir)'
else
all install uninstall installcheck clean:
	@echo "$(PG_CONFIG) finds no PGXS: install PostgreSQL's client or development package, or set PG_CONFIG" >&2
	@exit 1
endif
