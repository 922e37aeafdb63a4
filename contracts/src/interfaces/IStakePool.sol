// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC4626} from "@openzeppelin/contracts/interfaces/IERC4626.sol";

import {IBonds} from "./IBonds.sol";
import {IPaymentEscrow} from "./IPaymentEscrow.sol";

/// @title A pool of JOULE that stands behind suppliers who have no stake of their own.
/// @notice Investors deposit JOULE for shares (ERC-4626). Suppliers with credit borrow bond from it:
/// the money goes to the bonds and never to the supplier. Of what a borrower redeems at the escrow,
/// the pool takes a share, and another share becomes the supplier's own stake, which answers before
/// the loan does. A borrower keeps the terms it borrowed on until it borrows again.
///
/// A share is worth its part of what is here, of what the escrow has put aside and of what is left of
/// the loans, so that a loss is everybody's at the moment of the slash. Shares leave through a queue:
/// they wait for the delay, bear every loss that falls into it, and are paid in order at the price of
/// the payment. They never wait less than a bond thaws, which is the time that misconduct has to come
/// to light; and while cases are open against borrowers of more than a thousandth of the assets,
/// nobody is paid. So nobody leaves before a loss that has already been caused. `maxWithdraw` and
/// `maxRedeem` are therefore zero.
interface IStakePool is IERC4626 {
    /// @notice A place in the queue.
    /// @param owner Whose shares they were.
    /// @param receiver Who is paid.
    /// @param readyAt From when it may be paid, in seconds since 1970.
    /// @param shares What is left to pay for.
    struct Request {
        address owner;
        address receiver;
        uint64 readyAt;
        uint256 shares;
    }

    /// @notice What bounds the pool's risk and shares its earnings, all in basis points.
    /// @param poolCapBp How much of the assets may be on loan.
    /// @param supplierCapBp How much of the assets may be on loan to one supplier.
    /// @param earningsBp How much of a borrower's earnings the pool takes.
    /// @param growthBp How much of them becomes the borrower's own stake, until that equals the loan.
    struct Terms {
        uint16 poolCapBp;
        uint16 supplierCapBp;
        uint16 earningsBp;
        uint16 growthBp;
    }

    /// @notice Shares entered the queue.
    event RedeemRequested(
        uint256 indexed id,
        address indexed owner,
        address indexed receiver,
        uint256 shares,
        uint64 readyAt
    );

    /// @notice Shares of the queue were paid, all of a request or as much as there was money for.
    event RequestPaid(uint256 indexed id, address indexed receiver, uint256 assets, uint256 shares);

    /// @notice A supplier was given credit; zero takes it away and leaves loans as they are.
    event CreditChanged(address indexed supplier, uint256 credit);

    /// @notice A supplier borrowed bond.
    event Lent(address indexed supplier, uint256 amount);

    /// @notice A loan began to thaw, in part or whole.
    event Recalled(address indexed supplier, address indexed by, uint256 amount);

    /// @notice A loan came back.
    event Reclaimed(address indexed supplier, uint256 amount);

    /// @notice Earnings of a supplier were shared out.
    event EarningsShared(
        address indexed supplier, uint256 toPool, uint256 toStake, uint256 toSupplier
    );

    /// @notice Shares of earnings came from the escrow.
    event EarningsCollected(uint256 amount);

    /// @notice The terms changed, for new loans and earnings.
    event TermsChanged(Terms terms);

    /// @notice The delay changed; requests that were made before keep theirs.
    event DelayChanged(uint32 delay);

    /// @notice Who gives credit changed.
    event UnderwriterChanged(address underwriter);

    /// @notice A loan above the supplier's credit.
    error AboveCredit(uint256 lent, uint256 credit);

    /// @notice More on loan to one supplier than one may have.
    error AboveSupplierCap(uint256 lent, uint256 cap);

    /// @notice More on loan than the pool may lend.
    error AbovePoolCap(uint256 lent, uint256 cap);

    /// @notice The money is needed for the queue.
    error NeededForQueue(uint256 requested, uint256 free);

    /// @notice Cases are open against borrowers of this much: what may be lost of it is not known yet.
    error CasesOpen(uint256 locked);

    /// @notice Someone who may not recall the loan, or not so much of it.
    error NotRecallable(uint256 requested, uint256 allowed);

    /// @notice Someone other than the underwriter and the owner.
    error NotUnderwriter(address caller);

    /// @notice A request below the least that takes a place in the queue.
    error RequestTooSmall(uint256 assets, uint256 min);

    /// @notice Terms beyond the whole or the caps in the code.
    error InvalidTerms();

    /// @notice A delay outside of the bounds in the code.
    error DelayOutOfBounds(uint32 requested, uint32 min, uint32 max);

    /// @notice An amount of zero.
    error ZeroAmount();

    /// @notice The zero address.
    error ZeroAddress();

    /// @notice Puts shares of the caller into the queue. They cannot be taken back out.
    /// @param shares How many.
    /// @param receiver Who is paid.
    /// @return id The place in the queue.
    function requestRedeem(uint256 shares, address receiver) external returns (uint256 id);

    /// @notice Pays the queue in order, as far as it is ready and there is money, unless what may
    /// be lost is not known. Anyone may.
    /// @param max The most requests to look at.
    /// @return assets What was paid in all.
    function settle(uint256 max) external returns (uint256 assets);

    /// @notice Takes what the escrow has put aside for the pool. Anyone may; {settle} and {borrow} do
    /// it too.
    /// @return amount What came.
    function collect() external returns (uint256 amount);

    /// @notice As a supplier with credit that chose the pool in {IBonds-setLender}: borrows bond.
    function borrow(uint256 amount) external;

    /// @notice Starts the thaw of a loan. The supplier, the underwriter and the owner may for all of
    /// it; anyone may for what a ready queue lacks.
    function recall(address supplier, uint256 amount) external;

    /// @notice Takes back what has thawed of a loan. Anyone may.
    /// @return amount What came back.
    function reclaim(address supplier) external returns (uint256 amount);

    /// @notice Shares out earnings of a supplier, which the caller brings: to the pool, to the
    /// supplier's own stake, and the rest to the supplier. Without a loan all is the supplier's. For
    /// earnings that do not come by the escrow.
    function shareEarnings(address supplier, uint256 amount) external;

    /// @notice Gives a supplier credit. Only the underwriter and the owner.
    function setCredit(address supplier, uint256 credit) external;

    /// @notice Sets the terms. Only the owner.
    function setTerms(Terms calldata terms) external;

    /// @notice Sets how long a request waits, in seconds. Only the owner.
    function setDelay(uint32 delay) external;

    /// @notice Sets who gives credit. Only the owner.
    function setUnderwriter(address underwriter) external;

    /// @notice How earnings of a supplier would be shared out now.
    function split(address supplier, uint256 amount)
        external
        view
        returns (uint256 toPool, uint256 toStake, uint256 toSupplier);

    /// @notice A request by its place; one that was paid in full has no shares left.
    function request(uint256 id) external view returns (Request memory);

    /// @notice The first place that is not paid in full, and the number of places ever taken.
    function queue() external view returns (uint256 head, uint256 tail);

    /// @notice The shares in the queue.
    function queuedShares() external view returns (uint256);

    /// @notice The JOULE that is here, in wei.
    function cash() external view returns (uint256);

    /// @notice What a supplier may borrow by the underwriter's word, in wei.
    function creditOf(address supplier) external view returns (uint256);

    /// @notice The terms.
    function terms() external view returns (Terms memory);

    /// @notice How long a request waits, in seconds, where bonds do not thaw longer.
    function delay() external view returns (uint32);

    /// @notice Who gives credit.
    function underwriter() external view returns (address);

    /// @notice Who keeps the bonds.
    function bonds() external view returns (IBonds);

    /// @notice Who pays the suppliers.
    function escrow() external view returns (IPaymentEscrow);
}
