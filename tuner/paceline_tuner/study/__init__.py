"""What a study is, how a study file is read, and how parameters become a configuration."""
