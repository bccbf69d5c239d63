# bash experiments/final.sh foodcom     after the studies `baselines` and `grid18_loss` on that data
# Question: does the winner of the grid beat every baseline on the test part, which no choice has seen?
# Budget: each kind of baseline at its best setting once; the winner as in its second look (up to 60
# epochs, best epoch kept) with 5 seeds that no choice has seen.
set -euo pipefail
data=${1:-synthetic}
bin=${BIN:-$(dirname "$(command -v recsweep)")}

"$bin/recsweep" refit "baselines $data" --best-of model
"$bin/recsweep" refit "grid18_loss $data" --seeds 5
"$bin/recsweep" compare --on test
