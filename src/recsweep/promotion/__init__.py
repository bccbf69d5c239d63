"""Which model is served: the rule, the contest it judges, and the audited change of the
champion."""
