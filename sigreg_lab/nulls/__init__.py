"""Laws of test statistics under the null hypothesis; this room knows no statistic."""
