"""How a password or a token is written in settings, connection strings, headers and messages.

Each form says its secret as `{}`, and a test puts one there that is found nowhere else.
"""

SECRET = "Zq7Xw9vKp3LmR5tY"
"""Stands for a password or a token, and for nothing else."""

FORMS = {
    # URIs
    "password": "postgresql://anna:{}@db/runs",
    "password of a driver": "postgresql+psycopg2://anna:{}@db:5432/runs?sslmode=require",
    "without a user": "redis://:{}@host:6379/0",
    "with a space": "postgresql://anna:{} horse@db/runs",
    "with a slash and an at": "postgresql://anna:a/b@{}@db/runs",
    "with a quote": "mysql://anna:it's{}@db/runs",
    "with a double quote": 'mysql://anna:a"{}@db/runs',
    "with digits first": "mysql://anna:12/{}@db/runs",
    "with a colon": "mysql://anna:a:{}@db/runs",
    "with brackets": "mysql://anna:a)]{}@db/runs",
    "as a path": "https:/anna:{}@host/file.csv",
    "without a scheme": "anna:{}@db.example.org:5432/runs",
    "token as user": "https://{}@host/path",
    "token before x-oauth-basic": "https://{}:x-oauth-basic@github.com/a/b.git",
    "token after x-access-token": "https://x-access-token:{}@github.com/a/b.git",
    "token before nothing": "https://{}:@api.example.org/v1",
    "encoded": "https://proxy/?to=http%3A%2F%2Fanna%3A{}%40host",
    "without its host": "https://anna:{}",
    # queries
    "access_token": "https://host/?access_token={}&page=2",
    "api key": "https://host/v1?apikey={}",
    "key": "https://host/v1?key={}&page=2",
    "fragment": "https://host/#id_token={}",
    "sqlite": "sqlite:///file:a.db?uri=true&Password={}",
    "signature of Amazon": "https://b.s3.amazonaws.com/a?X-Amz-Signature={}&x=1",
    "credential of Amazon": "https://b.s3.amazonaws.com/a?X-Amz-Credential={}%2F20260101&x=1",
    "session of Amazon": "https://b.s3.amazonaws.com/a?X-Amz-Security-Token={}",
    "signature of Azure": "https://a.blob.core.windows.net/c?sv=2020&sig={}&se=2026",
    "odbc_connect": "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BUID%3Danna%3BPWD%3D{}",
    # connection strings
    "DSN": "host=db user=anna password={} dbname=runs",
    "quoted DSN": "host=db user=anna password='it\\'s {}' dbname=runs",
    "ODBC": "Server=db;Uid=anna;Pwd={};Database=runs",
    "ODBC with a space": "Server=db;Uid=anna;Pwd=correct {};Database=runs",
    "ODBC in braces": "Server=db;Pwd={{a;b {}}};Database=runs",
    "account key": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={}==;EndpointSuffix=x",
    "shared access key": "Endpoint=sb://a/;SharedAccessKeyName=b;SharedAccessKey={}=",
    "go": "anna:{}@tcp(db:3306)/runs",
    # settings
    "pass": "pass={}",
    "passphrase": "passphrase={}",
    "passwd": "passwd={}",
    "auth": "auth={}",
    "client secret": "client_secret = '{}'",
    "environment": "AWS_SECRET_ACCESS_KEY={}",
    "camels": "accessToken: '{}'",
    "upper case": "export DB_PASSWORD={}",
    "numbered": "password2={}",
    "encoded setting": "password%3D{}",
    "JSON": '{{"user": "anna", "password": "{}"}}',
    "JSON in JSON": '"{{\\"password\\": \\"a {}\\"}}"',
    "Python": "{{'user': 'anna', 'password': '{}'}}",
    "Python with a quote": "{{'password': \"it's {}\"}}",
    "tuple": "auth=('anna', '{}')",
    "YAML": "user: anna\npassword: {} horse\nport: 1",
    "YAML block": "password: |\n  {}\nport: 1",
    "TOML": 'api_key = "{}"',
    # headers and commands
    "bearer": "Authorization: Bearer {}",
    "bearer alone": "sent Bearer {} and more",
    "basic": "{{'Authorization': 'Basic {}'}}",
    "header": "X-Api-Key: {}",
    "cookie": "Cookie: session={}",
    "option": "unrecognized arguments: --password {}",
    "option with =": "unrecognized arguments: --api-token={} --x",
    "curl": "curl -u anna:{} https://host",
    # by their shape
    "private key": (
        "-----BEGIN RSA PRIVATE KEY-----\n{}\nb3BlbnNzaC1rZXk=\n-----END RSA PRIVATE KEY-----"
    ),
}
"""Name of the form -> how it is written."""

SHAPED = {
    "key id of Amazon": "AKIAQ7RSTUVWXYZ23456",
    "token of GitHub": "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8",
    "token of GitHub, fine-grained": "github_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ",
    "token of GitLab": "glpat-A1b2C3d4E5f6G7h8I9j0",
    "token of Slack": "xoxb-123456789012-abcdefABCDEF",
    "key of Stripe": "sk_live_A1b2C3d4E5f6G7h8",
    "token of Hugging Face": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
    "token of Databricks": "dapi0123456789abcdef0123456789abcdef",
    "web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl",
}
"""Secrets that show by themselves what they are, whatever stands around them."""

HARMLESS = (
    "sqlite:////home/anna/mlruns/mlflow.db",
    "sqlite:///C:/Users/anna/mlflow.db",
    "postgresql://anna@db/runs",
    "ssh://git@github.com/a/b.git",
    "http://127.0.0.1:5000/health",
    "http://127.0.0.1:5000 can't be reached, ask admin@example.org",
    "http://db:5000 can't be reached, ask admin@example.org",
    "http://localhost:5000/anna@b",
    "see https://host:8080/path, and https://other/@anna",
    "file:///a/b@c",
    "models:/recsweep@champion",
    "image python:3.11@sha256:0123456789abcdef",
    "data.path=a@b.csv",
    "data.path=/home/anna/pass/likes.csv",
    "data.user_column=token",
    "model.author=anna keyboard=us monkey: 3",
    "recipe_net 15/25/128 mse adam",
    "https://host/?page=2&design=new",
    "ratio 1:2 by a@b.org",
    "run f0a35f1d5a9b40abbc5985e6c04d622f, data a641be578951ab16",
    "models:/m-c0aba799fb4848f99281fe395a66946a",
    "Key 'user_dimm' is not in struct\n    full_key: model.user_dimm\n    object_type=dict",
    "No key is given. The secretary: Anna. A token was refused. Passed: 3",
    "password: null",
    "{'password': None, 'token': ''}",
    "hydra/sweeper=basic is chosen; basic authentication; bearer tokens",
    "optimizer.lr='tag(log, interval(1e-4, 1e-1))'",
    "#12 recipe_net 2/25/128 mse adam, seed 0: 12:30:05",
    "author@example.org: likes 5",
    "export RECSWEEP_TOKEN=$(openssl rand -hex 32)",
    'curl http://host/x -H "Authorization: Bearer $RECSWEEP_TOKEN"',
    "primary_key: id\ntokenizer: words\nnum_tokens: 3",
)
"""Texts in which nothing is secret."""
