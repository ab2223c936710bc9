"""The shadow judged with real things: a corpus from a real server, seeded mutations, planted secrets, public samples."""
