"""The choice of the model that is served: the rule, the contest, and the audited change."""
