"""The gate, and the bridge it reports to. `cli` is the way in; `core` is where the decisions are made."""
