"""The public API and its page: what people and programs ask of the persona store over HTTP."""
