# bash experiments/final.sh foodcom     after the studies `baselines` and `grid18_loss` on that data
# Question: does the winner of the grid beat every baseline on the test part, which no choice has seen?
# Budget: each kind of baseline at its best setting once; the winner for 20 epochs with 5 seeds, best epoch kept.
set -euo pipefail
data=${1:-synthetic}
bin=${BIN:-$(dirname "$(command -v recsweep)")}

"$bin/recsweep" refit "baselines $data" --best-of model
"$bin/recsweep" refit "grid18_loss $data" trainer.max_epochs=20 trainer.keep=best --seeds 5
"$bin/recsweep" compare --on test
