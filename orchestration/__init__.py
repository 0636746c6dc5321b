"""Dagster only: two code locations that call plain functions of core and activation.

platform    ingestion, dbt, membership changes, checks, schedules (imports dagster_dbt: slow start)
activation  sensors and the activation run (must start fast: never imports dagster_dbt)
shared      what both need
"""
