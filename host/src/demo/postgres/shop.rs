//! Sample data: a shop whose customers have what must not be seen.
//!
//! Every person is invented. Card numbers pass Luhn and lie in the ranges that payment processors reserve for tests;
//! social security numbers look valid and come from areas (734 to 749) that were set aside and unused until 2011.

use super::{Postgres, PostgresError, random_password};

/// Tables, sixty customers and a hundred and twenty orders.
const SHOP: &str = include_str!("shop.sql");

/// The account that the gateway uses on the shop: owner of the database, so that what an agent may not do is refused
/// by the gateway and not by PostgreSQL. No superuser.
#[derive(Clone)]
pub struct ShopLogin {
    /// The database.
    pub database: String,
    /// The role.
    pub role: String,
    /// Its password.
    pub password: String,
}

impl Postgres {
    /// Makes the database `shop` with its data and a role for the gateway.
    pub fn load_shop(&self) -> Result<ShopLogin, PostgresError> {
        let password = random_password()?;
        // The password is hexadecimal digits: nothing in it can end the literal.
        self.sql(
            "postgres",
            &format!(
                "create role shop_owner login password '{password}';\ncreate database shop owner shop_owner;"
            ),
        )?;
        self.sql("shop", &format!("set role shop_owner;\n{SHOP}"))?;
        Ok(ShopLogin { database: "shop".to_owned(), role: "shop_owner".to_owned(), password })
    }
}

#[cfg(test)]
mod tests {
    use super::SHOP;
    use std::collections::HashSet;

    fn digits(text: &str) -> Vec<u32> {
        text.chars().filter_map(|c| c.to_digit(10)).collect()
    }

    fn passes_luhn(number: &[u32]) -> bool {
        let sum: u32 = number
            .iter()
            .rev()
            .enumerate()
            .map(|(place, digit)| match place % 2 {
                0 => *digit,
                _ => digit * 2 / 10 + digit * 2 % 10,
            })
            .sum();
        sum.is_multiple_of(10)
    }

    /// The quoted values of each customer's line.
    fn customers() -> Vec<Vec<&'static str>> {
        let lines = SHOP.split("insert into customers").nth(1).unwrap().split(';').next().unwrap();
        let rows = lines.lines().filter(|line| line.starts_with("    ("));
        rows.map(|row| row.split('\'').skip(1).step_by(2).collect()).collect()
    }

    #[test]
    fn what_the_mask_must_find_looks_real() {
        let customers = customers();
        assert_eq!(customers.len(), 60);
        for row in &customers {
            let [name, email, ssn, card, city] = row[..] else { panic!("{row:?}") };
            assert!(!name.is_empty() && !city.is_empty());
            assert!(email.contains('@'), "{email}");
            assert!(passes_luhn(&digits(card)) && (15..=16).contains(&digits(card).len()), "{card}");
            assert_eq!(ssn.split('-').map(str::len).collect::<Vec<_>>(), [3, 2, 4], "{ssn}");
            assert!((734..=749).contains(&ssn[..3].parse::<u32>().unwrap()), "{ssn}");
        }
        for column in 1..4 {
            let values: HashSet<&str> = customers.iter().map(|row| row[column]).collect();
            assert_eq!(values.len(), customers.len(), "column {column} repeats a value");
        }
    }
}
