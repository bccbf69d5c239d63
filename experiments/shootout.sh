# bash experiments/shootout.sh foodcom_dense.csv.gz ml-100k/u.data     with MovieLens 1M below $RECSWEEP_DATA, as the ledger has it
# Question: which model ranks best, tuned alike, on the test part that no choice has seen, and at what cost?
# Budget: experiments/shootout.yaml on both data sets at once, each on one core; then the best of each model with 3 seeds (where
# a seed changes it) on 3 splits; MovieLens 1M at published settings, one split, by the protocol recbole_ml1m of the ledger.
# The same command goes on where it was interrupted.
set -euo pipefail
bin=${BIN:-$(dirname "$(command -v recsweep)")}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

tune_and_test() {
  "$bin/python" train.py -cd experiments -cn shootout "data=$1" "data.path=$2"
  "$bin/recsweep" refit "shootout $1" --best-of model --seeds 3 --splits 3
}

tune_and_test foodcom "$1" &
first=$!
tune_and_test movielens_100k "$2" &
second=$!
trap 'kill "$first" "$second" 2>/dev/null' INT TERM
wait "$first"
wait "$second"
for data in foodcom movielens_100k; do
  "$bin/recsweep" compare --study "shootout $data" --on test --measure ndcg_at_10
done

if [ -n "${RECSWEEP_DATA:-}" ]; then
  "$bin/recsweep" ledger --workers 2 recbole_ml1m/{popularity,item_knn,ease,bpr,multi_vae,neumf,lightgcn}
  "$bin/recsweep" compare --experiment ledger --on test --measure ndcg_at_10
fi
